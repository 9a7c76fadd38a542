//! The same source into MySQL and MariaDB.

use std::sync::Arc;

use tidegate_harness::MysqlFlavour;

use crate::world::{Source, World};

/// Worlds with the same source, into MySQL and MariaDB, and the names of their tasks.
pub(crate) async fn beside(world: &World) -> Vec<(World, &'static str)> {
    let mut worlds = Vec::new();
    for (flavour, task) in [(MysqlFlavour::Mysql97, "to-mysql"), (MysqlFlavour::Mariadb1011, "to-mariadb")] {
        worlds.push((World::with(world.source.clone(), Arc::new(Source::mysql(flavour).await)).await, task));
    }
    worlds
}

pub(crate) fn is_mysql(world: &World) -> bool {
    matches!(&*world.target, Source::Mysql(server) if !server.flavour().is_mariadb())
}
