//! The sandbox instances of a stream: as many as it has units, working on pieces of a batch side by side.
//!
//! ```text
//!   changes ─┬─ piece 1 ─▶ instance 1 ─┐
//!            ├─ piece 2 ─▶ instance 2 ─┼─▶ what comes of them, in the order of the changes
//!            └─ piece 3 ─▶ instance 3 ─┘
//! ```
//!
//! A module judges rows and keeps nothing from one batch to the next, so who judges which piece changes nothing. The first
//! instance is always there; further ones are made when they are first needed, and where the node has no room for one, its
//! piece goes to the first.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use tidegate_connector::ConnectorError;
use tidegate_sandbox::{run_on_guest_thread, thread_cpu, waiting_by};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::block_in_place;

use crate::guests::{self, Guests};
use crate::modules::Modules;
use crate::row_errors::RowErrors;
use crate::task::TaskError;
use crate::units::Units;

/// Smaller pieces would cost more in handing over than they save.
const PIECE_MIN: usize = 256;

/// For how long no further instance is asked for after the node had no room for one: asking takes seconds.
const NONE_ASKED: Duration = Duration::from_secs(60);

/// Work that takes no longer is not worth a thread of its own.
const QUICK: Duration = Duration::from_millis(10);

/// CPU time. Work that takes no more is not worth that another thread goes on with what this one has to do besides: handing that over and
/// back costs some 150 µs. Reading and writing as many rows takes about as long.
const AT_ONCE: Duration = Duration::from_millis(3);

/// More instances at work than cores only take turns.
static CORES: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

/// See the module's documentation.
pub(crate) struct Instances {
    modules: Arc<Modules>,
    row_errors: Arc<RowErrors>,
    units: Units,
    /// Those that do not work now; the first one first.
    idle: VecDeque<Box<Guests>>,
    no_room_until: Option<Instant>,
    /// Of the last work of [`Instances::with_first_here`].
    length: Length,
}

/// How long work takes, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    AtOnce,
    Quick,
    Long,
}

impl Length {
    /// Work that waited for a processor is no longer for it.
    fn of(cpu: Duration, wall: Duration) -> Self {
        match (cpu <= AT_ONCE, wall <= QUICK) {
            (true, _) => Self::AtOnce,
            (false, true) => Self::Quick,
            (false, false) => Self::Long,
        }
    }
}

/// What came of a piece.
enum Outcome<T, R> {
    Done(Result<Vec<R>, TaskError>),
    /// There is no room for the instance that was to work on it.
    NoRoom(Vec<T>),
}

impl Instances {
    pub(crate) fn new(modules: Arc<Modules>, row_errors: Arc<RowErrors>, units: Units) -> Self {
        Self { modules, row_errors, units, idle: VecDeque::new(), no_room_until: None, length: Length::Long }
    }

    /// How many instances may work at once.
    pub(crate) fn allowed(&self) -> usize {
        let has_room = self.no_room_until.is_none_or(|until| until <= Instant::now());
        if has_room { self.units.lanes().min(*CORES) } else { 1 }
    }

    /// Runs `work` with the first instance on a thread for guests. When the future is dropped meanwhile, the work ends by
    /// itself, within the guests' time limits, and its instance is dropped.
    pub(crate) async fn with_first<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Guests) -> Result<R, TaskError> + Send + 'static,
    ) -> Result<R, TaskError> {
        let mut guests = self.take();
        let (guests, result) = started(move || {
            let result = work(&mut guests);
            (guests, result)
        })?
        .await
        .map_err(panicked)?;
        self.idle.push_front(guests);
        result
    }

    /// As [`Instances::with_first`], but on this thread as long as the work is quick: handing a row to another core and back costs
    /// more than most modules do, and here it stays in the core's caches. Another thread goes on with what this one had to do besides, at once
    /// or, where even that is not worth while, when the work takes long after all. When the task that waits for the future is aborted, it ends
    /// after the work, within the guests' time limits.
    pub(crate) async fn with_first_here<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Guests) -> Result<R, TaskError> + Send + 'static,
    ) -> Result<R, TaskError> {
        let since = Instant::now();
        let timed = move |guests: &mut Guests| {
            let before = thread_cpu();
            let result = work(guests)?;
            Ok((result, thread_cpu().saturating_sub(before)))
        };
        // In a runtime of one thread there is no other one to go on.
        let is_alone = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        // Until it is known: what fails, or is cancelled, may have taken any time.
        let result = match std::mem::replace(&mut self.length, Length::Long) {
            Length::AtOnce if !is_alone => self.here(|guests| waiting_by(others_go_on, || timed(guests))),
            Length::Quick if !is_alone => self.here(|guests| block_in_place(|| timed(guests))),
            _ => self.with_first(timed).await,
        };
        let (result, cpu) = result?;
        self.length = Length::of(cpu, since.elapsed());
        Ok(result)
    }

    fn here<R>(&mut self, work: impl FnOnce(&mut Guests) -> Result<R, TaskError>) -> Result<R, TaskError> {
        let mut guests = self.take();
        let result = work(&mut guests);
        self.idle.push_front(guests);
        result
    }

    /// Runs `work` on pieces of `items` side by side, and puts what comes of them together in the order of the items.
    /// `ready` makes sure of a further instance; it fails with a code of [`guests::is_no_room`] where there is none.
    ///
    /// # Errors
    /// That of the first piece that failed.
    pub(crate) async fn in_pieces<T: Send + 'static, R: Send + 'static>(
        &mut self,
        items: Vec<T>,
        ready: impl Fn(&mut Guests) -> Result<(), TaskError> + Clone + Send + 'static,
        work: impl Fn(&mut Guests, Vec<T>) -> Result<Vec<R>, TaskError> + Clone + Send + 'static,
    ) -> Result<Vec<R>, TaskError> {
        let count = self.allowed().min(items.len() / PIECE_MIN).max(1);
        self.idle.truncate(self.units.lanes());
        if count == 1 {
            return self.with_first(move |guests| work(guests, items)).await;
        }
        let mut running = Vec::with_capacity(count);
        for (index, piece) in pieces(items, count).into_iter().enumerate() {
            let mut guests = self.take();
            let (ready, work) = (ready.clone(), work.clone());
            running.push(started(move || {
                let outcome = match if index == 0 { Ok(()) } else { ready(&mut guests) } {
                    Ok(()) => Outcome::Done(work(&mut guests, piece)),
                    Err(error) if guests::is_no_room(error.code()) => Outcome::NoRoom(piece),
                    Err(error) => Outcome::Done(Err(error)),
                };
                (guests, outcome)
            })?);
        }
        let mut outcomes = Vec::with_capacity(count);
        for ended in running {
            let (guests, outcome) = ended.await.map_err(panicked)?;
            if matches!(outcome, Outcome::Done(_)) {
                self.idle.push_back(guests);
            }
            outcomes.push(outcome);
        }
        let mut all = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Done(result) => all.append(&mut result?),
                Outcome::NoRoom(piece) => {
                    self.no_room_until = Some(Instant::now() + NONE_ASKED);
                    let work = work.clone();
                    all.append(&mut self.with_first(move |guests| work(guests, piece)).await?);
                }
            }
        }
        Ok(all)
    }

    fn take(&mut self) -> Box<Guests> {
        self.idle.pop_front().unwrap_or_else(|| Box::new(Guests::new(self.modules.clone(), self.row_errors.clone())))
    }
}

/// Another thread goes on with what this one, of a runtime, has to do besides the wait.
fn others_go_on(wait: &mut dyn FnMut()) {
    block_in_place(wait);
}

/// `count` nearly equal parts of `items`, in order; at least one.
fn pieces<T>(mut items: Vec<T>, count: usize) -> Vec<Vec<T>> {
    let mut pieces: Vec<Vec<T>> = (1..count).rev().map(|left| items.split_off(items.len() - items.len() / (left + 1))).collect();
    pieces.push(items);
    pieces.reverse();
    pieces
}

/// Starts `work` on a thread for guests.
fn started<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<oneshot::Receiver<R>, TaskError> {
    let (done, result) = oneshot::channel();
    // Nobody waits any more where the task was stopped.
    run_on_guest_thread(move || drop(done.send(work())))
        .map_err(|error| ConnectorError::transient("threads", format!("start a thread for modules: {error}")))?;
    Ok(result)
}

fn panicked(_: oneshot::error::RecvError) -> TaskError {
    TaskError::Panicked("the work with a module panicked".into())
}

#[cfg(test)]
#[path = "instances_tests.rs"]
mod tests;
