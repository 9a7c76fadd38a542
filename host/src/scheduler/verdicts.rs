//! Which upload is examined next: tenants take turns, so that one who uploads a thousand slow modules holds up its own.
//!
//! The tenant with the fewest under way comes first, then the one whose turn was the longest ago, and of a tenant's uploads the
//! oldest. Where there are several tenants, one of them never has every place.

use std::collections::HashMap;

use tidegate_catalog::ModuleRecord;
use tidegate_model::TenantId;
use tokio::task::{Id, JoinSet};

/// Modules examined at once: compiling keeps a core busy, and one that is slow to compile must not hold up the next.
const PLACES: usize = 2;

/// What is examined, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    work: JoinSet<()>,
    under_way: HashMap<Id, Upload>,
    /// The number of each tenant's last turn.
    turns: HashMap<TenantId, u64>,
    turn: u64,
}

/// A verdict is about bytes, whatever names they have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Upload {
    tenant: TenantId,
    digest: String,
}

impl Verdicts {
    /// Takes note of those that ended.
    pub(super) fn settle(&mut self) {
        while let Some(ended) = self.work.try_join_next_with_id() {
            let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
            self.under_way.remove(&id);
        }
    }

    /// Starts `judge` on what is next of what waits, oldest first, as long as there are places.
    pub(super) fn start<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        mut waiting: Vec<ModuleRecord>,
        tenants: usize,
        judge: impl Fn(ModuleRecord) -> F,
    ) {
        self.turns.retain(|tenant, _| waiting.iter().any(|record| record.tenant == *tenant));
        while let Some(place) = self.next(&waiting, tenants) {
            let record = waiting.remove(place);
            let upload = self.take_turn(&record);
            let id = self.work.spawn(judge(record)).id();
            self.under_way.insert(id, upload);
        }
    }

    /// Drops what is under way.
    pub(super) async fn close(mut self) {
        self.work.shutdown().await;
    }

    fn take_turn(&mut self, record: &ModuleRecord) -> Upload {
        self.turn += 1;
        self.turns.insert(record.tenant.clone(), self.turn);
        Upload { tenant: record.tenant.clone(), digest: record.digest.clone() }
    }

    /// The place in `waiting` of the one whose turn it is.
    fn next(&self, waiting: &[ModuleRecord], tenants: usize) -> Option<usize> {
        if self.under_way.len() >= PLACES {
            return None;
        }
        let most = if tenants > 1 { PLACES - 1 } else { PLACES };
        let of = |tenant: &TenantId| self.under_way.values().filter(|upload| upload.tenant == *tenant).count();
        let may =
            |record: &ModuleRecord| of(&record.tenant) < most && !self.under_way.values().any(|upload| upload.digest == record.digest);
        let rank = |record: &ModuleRecord| (of(&record.tenant), self.turns.get(&record.tenant).copied().unwrap_or(0));
        // Of equal ones the first, which is the oldest.
        let (place, _) = waiting.iter().enumerate().filter(|(_, record)| may(record)).min_by_key(|(_, record)| rank(record))?;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tidegate_catalog::ModuleState;

    use super::*;

    fn upload(tenant: &str, number: i64) -> ModuleRecord {
        ModuleRecord {
            tenant: TenantId::new(tenant).unwrap(),
            name: format!("m{number}"),
            digest: format!("sha256:{tenant}{number}"),
            bytes_len: 1,
            state: ModuleState::Pending,
            info: Value::Null,
            uploaded_at_us: number,
        }
    }

    /// The order in which uploads are examined when each one takes as long as any other.
    fn order(mut waiting: Vec<ModuleRecord>, tenants: usize) -> Vec<String> {
        let mut verdicts = Verdicts::default();
        let ids: Vec<Id> = {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            waiting.iter().map(|_| runtime.spawn(async {}).id()).collect()
        };
        let (mut order, mut running) = (Vec::new(), std::collections::VecDeque::new());
        for id in ids {
            while verdicts.next(&waiting, tenants).is_none() {
                let ended = running.pop_front().expect("somebody is under way");
                verdicts.under_way.remove(&ended);
            }
            let record = waiting.remove(verdicts.next(&waiting, tenants).unwrap());
            order.push(format!("{}{}", record.tenant, record.uploaded_at_us));
            let upload = verdicts.take_turn(&record);
            verdicts.under_way.insert(id, upload);
            running.push_back(id);
        }
        order
    }

    #[test]
    fn tenants_take_turns_however_many_uploads_one_of_them_has() {
        let mut waiting: Vec<_> = (0..4).map(|number| upload("a", number)).collect();
        waiting.extend((4..6).map(|number| upload("b", number)));
        waiting.push(upload("c", 6));
        assert_eq!(order(waiting, 3), ["a0", "b4", "c6", "a1", "b5", "a2", "a3"]);
    }

    #[test]
    fn one_of_several_tenants_leaves_a_place_to_the_others() {
        let waiting: Vec<_> = (0..3).map(|number| upload("a", number)).collect();
        let mut verdicts = Verdicts::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let upload_under_way = verdicts.take_turn(&waiting[0]);
        verdicts.under_way.insert(runtime.spawn(async {}).id(), upload_under_way);
        assert_eq!(verdicts.next(&waiting, 2), None, "another tenant may come");
        assert_eq!(verdicts.next(&waiting, 1), Some(1), "there is nobody else, and equal bytes are examined once");
    }

    #[test]
    fn a_tenants_oldest_upload_is_examined_first() {
        assert_eq!(order((0..5).map(|number| upload("a", number)).collect(), 1), ["a0", "a1", "a2", "a3", "a4"]);
    }
}
