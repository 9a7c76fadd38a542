//! What happens to the tasks while their source works: stops and starts, tables loaded again, other numbers of units, and
//! a host that is killed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidegate_harness::wait_for;

use super::plan::State;
use super::rig::{Pair, Rig};

/// How long a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) struct Disturbance {
    /// Its own, so that a seed makes the same statements whatever happens to the tasks.
    random: StdRng,
    kills: bool,
    /// Tasks that rest, by their place among the source's.
    stopped: Vec<usize>,
}

impl Disturbance {
    /// Every second seed has the host killed, too.
    pub(super) fn new(seed: u64) -> Disturbance {
        Disturbance { random: StdRng::seed_from_u64(!seed), kills: seed % 2 == 1, stopped: Vec::new() }
    }

    /// Perhaps does something, and says what.
    ///
    /// # Errors
    /// The failure of a task.
    pub(super) async fn step(&mut self, rig: &Rig, pairs: &[Pair], state: &State) -> Result<Option<String>, String> {
        let index = self.random.random_range(0..pairs.len());
        let pair = &pairs[index];
        Ok(match self.random.random_range(0..90) {
            0..5 => Some(self.stop_or_start(rig, index, pair).await?),
            5..8 => {
                let table = state.tables.iter().filter(|table| table.reach.has(pair.target)).collect::<Vec<_>>();
                let Some(table) = table.choose(&mut self.random) else { return Ok(None) };
                let body = json!({"tables": [{"schema": pair.schema, "table": table.name}]});
                // A task that rests, or does not know the table yet, refuses.
                let answer = rig.post(&format!("/v1/tasks/{}/tables/reload", pair.task), &body).await;
                Some(format!("{} loads a table again: {}", pair.task, answer.status))
            }
            8..10 => {
                let most = self.random.random_range(1..4);
                rig.patch(&format!("/v1/tasks/{}", pair.task), &json!({"min_units": 0, "max_units": most})).await.ok();
                Some(format!("{} has {most} units at most", pair.task))
            }
            10 | 11 if self.kills => {
                rig.kill_host().await;
                Some("the host was killed".to_owned())
            }
            _ => None,
        })
    }

    async fn stop_or_start(&mut self, rig: &Rig, index: usize, pair: &Pair) -> Result<String, String> {
        let path = format!("/v1/tasks/{}", pair.task);
        if let Some(place) = self.stopped.iter().position(|stopped| *stopped == index) {
            self.stopped.swap_remove(place);
            rig.post(&format!("{path}/start"), &json!({})).await.ok();
            return Ok(format!("{} starts again", pair.task));
        }
        let stopped = rig.post(&format!("{path}/stop"), &json!({})).await;
        if stopped.status == 409 {
            return Err(format!("{} cannot be stopped: {}", pair.task, rig.task(pair).await["failure"]));
        }
        wait_for(&format!("task {} to stop", pair.task), PATIENCE, async || {
            let task = rig.task(pair).await;
            assert_ne!(task["status"], "failed", "{}", task["failure"]);
            if task["status"] == "stopped" { Ok(()) } else { Err(task["status"].clone()) }
        })
        .await;
        self.stopped.push(index);
        Ok(format!("{} rests", pair.task))
    }

    /// Starts the tasks that rest.
    pub(super) async fn end(&mut self, rig: &Rig, pairs: &[Pair]) {
        for index in std::mem::take(&mut self.stopped) {
            rig.post(&format!("/v1/tasks/{}/start", pairs[index].task), &json!({})).await.ok();
        }
    }
}
