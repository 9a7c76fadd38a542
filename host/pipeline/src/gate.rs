//! Lets as many load lanes work as there are units, as that changes.

use tokio::sync::watch;

use crate::units::Units;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Gate {
    units: Units,
    /// However many units there are.
    most: usize,
    working: watch::Sender<usize>,
}

impl Gate {
    pub(crate) fn new(units: Units, most: usize) -> Self {
        Self { units, most: most.max(1), working: watch::Sender::new(0) }
    }

    /// Waits until one more may work. Safe to cancel.
    pub(crate) async fn enter(&self) -> Entered<'_> {
        let (mut units, mut working) = (self.units.clone(), self.working.subscribe());
        while !self.try_enter() {
            tokio::select! {
                () = units.changed() => {}
                // The sender is this gate.
                _ = working.changed() => {}
            }
        }
        Entered(self)
    }

    fn try_enter(&self) -> bool {
        let allowed = self.units.lanes().min(self.most);
        self.working.send_if_modified(|working| {
            let may = *working < allowed;
            *working += usize::from(may);
            may
        })
    }
}

/// Held while the lane works.
#[derive(Debug)]
pub(crate) struct Entered<'a>(&'a Gate);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.working.send_modify(|working| *working -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The answer, when it comes at once.
    async fn at_once<'a>(gate: &'a Gate) -> Option<Entered<'a>> {
        tokio::time::timeout(Duration::from_millis(20), gate.enter()).await.ok()
    }

    #[tokio::test]
    async fn lanes_follow_the_units_up_and_down_within_their_bound() {
        let (granted, units) = watch::channel(0);
        let gate = Gate::new(Units::following(units), 3);
        let first = at_once(&gate).await.expect("one lane always may work");
        assert!(at_once(&gate).await.is_none());
        let more = async {
            let second = gate.enter().await;
            (second, gate.enter().await)
        };
        let ((second, third), ()) = tokio::join!(more, async {
            granted.send_replace(8);
        });
        assert!(at_once(&gate).await.is_none(), "the bound is 3");
        granted.send_replace(1);
        drop((first, second));
        assert!(at_once(&gate).await.is_none(), "one works still");
        drop(third);
        assert!(at_once(&gate).await.is_some());
    }
}
