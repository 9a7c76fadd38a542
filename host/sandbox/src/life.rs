//! How a sandbox comes to an instance, lets others have its slot between calls, and ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{Store, Trap, UpdateDeadline};

use crate::budget::Stop;
use crate::engine::TABLE_ELEMENTS;
use crate::error::{QUOTA, SHARE, SandboxError};
use crate::guest::Guest;
use crate::resident::{Inside, Live, Pace};
use crate::sandbox::{FUEL, Sandbox, State, answer_bytes_max};
use crate::share::TenantShare;
use crate::slots::{Lack, Slot};

impl Sandbox {
    /// Throws the instance away and starts a fresh one, after an error that left it unusable or for whatever reason.
    /// Its memory is gone; tables stay planned (each is planned again, and compared, when its next batch comes), and
    /// usage goes on counting. Waits for a slot where an error took it.
    ///
    /// # Errors
    /// As for [`Sandbox::new`]; the sandbox can be replaced again.
    pub fn replace(&mut self) -> Result<(), SandboxError> {
        self.fetch();
        let renewed = self.renew();
        self.settle();
        renewed
    }

    /// Does something with the instance, which nobody has it give up meanwhile.
    pub(crate) fn held<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R, SandboxError>) -> Result<R, SandboxError> {
        self.with_live(|sandbox| {
            if let State::Resting = sandbox.state {
                let slot = sandbox.slot()?;
                sandbox.start_in(slot)?;
            }
            work(sandbox)
        })
    }

    /// The same with the instance that there is, if there is one.
    pub(crate) fn with_live<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        self.fetch();
        let result = work(self);
        self.settle();
        result
    }

    /// The same as [`Sandbox::replace`] within [`Sandbox::held`].
    pub(crate) fn renew(&mut self) -> Result<(), SandboxError> {
        let slot = match self.end(SandboxError::Cancelled) {
            Some(slot) => slot,
            None => self.slot()?,
        };
        self.start_in(slot)
    }

    /// Drops the instance, and keeps what it logged and counted. Answers its slot.
    pub(crate) fn end(&mut self, error: SandboxError) -> Option<Slot> {
        self.note_memory();
        self.hear();
        self.usage.memory_bytes = 0;
        let State::Live(live) = std::mem::replace(&mut self.state, State::Ended(error)) else { return None };
        // The instance first.
        let Live { store, slot, .. } = *live;
        drop(store);
        Some(slot)
    }

    pub(crate) fn note_memory(&mut self) {
        if let State::Live(live) = &self.state {
            self.usage.memory_bytes = live.store.data().memory_bytes;
            self.usage.memory_bytes_peak = self.usage.memory_bytes_peak.max(self.usage.memory_bytes);
        }
    }

    /// Takes what instances told.
    pub(crate) fn hear(&mut self) {
        match &mut self.state {
            State::Live(live) => self.told.absorb(&mut live.store.data_mut().told),
            State::Resting => match &mut *self.place.lock() {
                Inside::Live(live) => self.told.absorb(&mut live.store.data_mut().told),
                Inside::GivenUp(told) => self.told.absorb(told),
                Inside::Nothing => {}
            },
            State::Ended(_) => {}
        }
    }

    /// True when others needed the slot.
    pub(crate) fn is_given_up(&self) -> bool {
        matches!(self.state, State::Resting) && !matches!(*self.place.lock(), Inside::Live(_))
    }

    /// Takes the instance from where others may have it given up, if they did not.
    fn fetch(&mut self) {
        if !matches!(self.state, State::Resting) {
            return;
        }
        match std::mem::take(&mut *self.place.lock()) {
            Inside::Live(live) => self.state = State::Live(live),
            Inside::GivenUp(mut told) => self.told.absorb(&mut told),
            Inside::Nothing => {}
        }
    }

    /// Leaves the instance where others may have it given up, or gives it up when somebody waits already.
    fn settle(&mut self) {
        match std::mem::replace(&mut self.state, State::Resting) {
            State::Live(live) if !self.engine.slots().are_wanted_of(&self.wish) => self.place.put(live, self.engine.slots().now()),
            State::Live(live) => {
                self.state = State::Live(live);
                drop(self.end(SandboxError::Cancelled));
                self.engine.slots().note_given_up();
                self.state = State::Resting;
            }
            ended => self.state = ended,
        }
    }

    fn slot(&self) -> Result<Slot, SandboxError> {
        let slots = self.engine.slots();
        if self.wish.share.as_ref().is_some_and(TenantShare::allows_none) {
            return Err(SandboxError::NoneAllowed);
        }
        let lack = match slots.take(&self.wish, &self.place, self.engine.settings().slot_patience) {
            Ok(slot) => return Ok(slot),
            Err(lack) => lack,
        };
        let share = self.wish.share.as_ref();
        let of_tenant = |bound| {
            share.inspect(|share| share.refused());
            SandboxError::TenantSandboxes { sandboxes: share.map_or(0, TenantShare::sandboxes), bound }
        };
        Err(match lack {
            Lack::Slot => SandboxError::NoSlot,
            Lack::Instances => SandboxError::Instances { instances_max: self.limits.instances_max },
            Lack::Quota => of_tenant(QUOTA),
            Lack::Share => of_tenant(SHARE),
        })
    }

    fn start_in(&mut self, slot: Slot) -> Result<(), SandboxError> {
        self.tables.values_mut().for_each(|table| table.known = false);
        match self.start(slot) {
            Ok(mut live) => {
                let budget = &mut live.store.data_mut().budget;
                budget.end();
                self.usage.cpu += budget.cpu_used();
                self.state = State::Live(Box::new(live));
                self.usage.instances += 1;
                self.note_memory();
                Ok(())
            }
            Err(error) => {
                self.state = State::Ended(error.clone());
                Err(error)
            }
        }
    }

    fn start(&self, slot: Slot) -> Result<Live, SandboxError> {
        let guest = Guest::new(&self.limits, Arc::clone(&self.cancel), &self.engine, self.wish.share.clone());
        let mut store = Store::new(self.engine.wasm(), guest);
        store.limiter(|guest| guest);
        store.set_hostcall_fuel(answer_bytes_max("start", &self.limits));
        self.refuel(&mut store)?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            let Guest { budget, pacer, .. } = context.data_mut();
            budget.check().map_err(wasmtime::Error::new)?;
            budget.rest(pacer);
            Ok(UpdateDeadline::Continue(1))
        });
        let running = self.engine.running();
        let instance = self.compiled.pre().instantiate(&mut store);
        drop(running);
        match instance {
            Ok(module) => Ok(Live { store, module, started: Instant::now(), batches: 0, usual: Duration::ZERO, pace: Pace::Unknown, slot }),
            Err(error) if error.is::<Trap>() || error.is::<Stop>() || store.data().refused.is_some() => {
                Err(self.failure("start", &error, store.data()))
            }
            // The runtime's words name one table, which may be small.
            Err(_) if store.data().lacks_elements => Err(SandboxError::Start(format!(
                "its tables have more than {TABLE_ELEMENTS} elements together, and a module may have no more"
            ))),
            Err(error) => Err(SandboxError::Start(format!("{error:#}"))),
        }
    }

    /// Without metering there is no fuel to set.
    fn refuel(&self, store: &mut Store<Guest>) -> Result<(), SandboxError> {
        if self.engine.settings().meters_fuel {
            store.set_fuel(FUEL).map_err(|error| SandboxError::Start(format!("{error:#}")))?;
        }
        Ok(())
    }
}
