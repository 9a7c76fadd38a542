//! The places for sandboxes that have an instance. Who finds none waits in a queue, and idle sandboxes give theirs up.
//!
//! ```text
//!   take ─▶ free, within the tenant's share and the module's number ─▶ Slot
//!     └──▶ none ─▶ the sandbox that was idle longest gives up its instance ─▶ take
//!            └──▶ none is idle ─▶ queue ─── a slot is given back, or a call ends ───▶ take
//! ```
//!
//! So a slot bounds sandboxes at work, not those that exist. Tenants' modules have the slots of the engine's settings; the modules of
//! nobody, which are the built-in ones, have a few beside them, so that a task with renames or filters alone waits for no tenant's module.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::compile::SandboxCount;
use crate::memory::NoMemory;
use crate::resident::Place;
use crate::share::{TenantShare, Verdict};
use crate::threads::wait;

/// Of so many slots for tenants' modules, one is there for built-in ones beside them.
const RESERVE_PART: u32 = 8;

/// A sandbox that was idle for so long gives up its slot even for a tenant that would be beyond its share.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// How often who waits looks for idle sandboxes by itself.
const LOOK: Duration = Duration::from_millis(10);

/// Slots of the built-in modules where tenants' modules have so many.
pub(crate) fn reserve_of(slots: u32) -> u32 {
    (slots / RESERVE_PART).max(1)
}

/// See the module's documentation.
pub(crate) struct Slots {
    of_tenants: usize,
    of_all: usize,
    state: Mutex<State>,
    changed: Condvar,
    /// Those in the queue: asked after each call, without the lock.
    waiting: AtomicUsize,
    given_up: AtomicU64,
    began: Instant,
}

#[derive(Default)]
struct State {
    by_tenants: usize,
    by_all: usize,
    residents: HashMap<u64, Resident>,
    /// First come first, of those whose wish can be met.
    queue: Vec<(u64, Wish, Lack)>,
    next: u64,
}

/// A sandbox that holds a slot.
struct Resident {
    wish: Wish,
    place: Weak<Place>,
}

/// What a sandbox wants a slot for.
#[derive(Clone)]
pub(crate) struct Wish {
    /// The tenant; `None` for the built-in modules.
    pub(crate) share: Option<TenantShare>,
    /// With which sandboxes of the module it is counted, and how many there may be.
    pub(crate) count: SandboxCount,
    pub(crate) instances_max: usize,
}

/// Why a wish cannot be met now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Every slot is taken.
    Slot,
    /// The module has as many as it may have.
    Instances,
    /// The tenant has as many as its quota allows.
    Quota,
    /// The tenant has its share of them.
    Share,
}

impl Slots {
    pub(crate) fn new(of_tenants: u32) -> Self {
        Self {
            of_tenants: of_tenants as usize,
            of_all: of_tenants.saturating_add(reserve_of(of_tenants)) as usize,
            state: Mutex::default(),
            changed: Condvar::new(),
            waiting: AtomicUsize::new(0),
            given_up: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    /// How many sandboxes hold a slot: of tenants' modules, and of built-in ones.
    pub(crate) fn held(&self) -> (usize, usize) {
        let state = self.lock();
        (state.by_tenants, state.by_all - state.by_tenants)
    }

    /// How often an idle sandbox gave its instance up.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(crate) fn note_given_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// Microseconds since the start: when a sandbox was used.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Takes a slot for the sandbox in `place`, waiting for one if need be. Waits on the calling thread.
    pub(crate) fn take(self: &Arc<Self>, wish: &Wish, place: &Arc<Place>, patience: Duration) -> Result<Slot, Lack> {
        let deadline = Instant::now() + patience;
        let mut ticket: Option<Ticket<'_>> = None;
        loop {
            let mut state = self.lock();
            let number = ticket.as_ref().map_or(u64::MAX, |ticket| ticket.number);
            let Some(lack) = self.lack(&state, wish) else {
                // Not before somebody who came earlier and can be served, too.
                if state.queue.iter().take_while(|(other, ..)| *other < number).all(|(_, wish, _)| self.lack(&state, wish).is_some()) {
                    let key = state.enter(wish, place);
                    return Ok(Slot { slots: Arc::clone(self), key });
                }
                ticket = Some(self.waits(state, ticket, wish, Lack::Slot, deadline).ok_or(Lack::Slot)?);
                continue;
            };
            drop(state);
            if self.clear(lack, wish) {
                continue;
            }
            ticket = Some(self.waits(self.lock(), ticket, wish, lack, deadline).ok_or(lack)?);
        }
    }

    /// In the queue, until something changes; `None` at the deadline.
    fn waits<'a>(
        &'a self,
        mut state: MutexGuard<'_, State>,
        ticket: Option<Ticket<'a>>,
        wish: &Wish,
        lack: Lack,
        deadline: Instant,
    ) -> Option<Ticket<'a>> {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            // The ticket takes the lock when it goes.
            drop(state);
            return None;
        };
        let ticket = ticket.unwrap_or_else(|| {
            state.next += 1;
            let number = state.next;
            state.queue.push((number, wish.clone(), lack));
            self.waiting.store(state.queue.len(), Ordering::Release);
            Ticket { slots: self, number }
        });
        for (_, _, why) in state.queue.iter_mut().filter(|(number, ..)| *number == ticket.number) {
            *why = lack;
        }
        drop(wait(|| self.changed.wait_timeout(state, left.min(LOOK))).unwrap_or_else(PoisonError::into_inner));
        Some(ticket)
    }

    fn lack(&self, state: &State, wish: &Wish) -> Option<Lack> {
        let free = self.of_all - state.by_all;
        if wish.count.sandboxes() >= wish.instances_max {
            return Some(Lack::Instances);
        }
        let Some(share) = &wish.share else { return (free == 0).then_some(Lack::Slot) };
        let free = free.min(self.of_tenants.saturating_sub(state.by_tenants));
        match share.judge_sandbox(free) {
            Verdict::AboveQuota => Some(Lack::Quota),
            _ if free == 0 => Some(Lack::Slot),
            Verdict::AboveShare => Some(Lack::Share),
            Verdict::Fits => None,
        }
    }

    /// Has an idle sandbox give up its slot, one whose slot helps; false when there is none.
    fn clear(&self, lack: Lack, wish: &Wish) -> bool {
        let same_share = |other: &Wish| is_same(other.share.as_ref(), wish.share.as_ref());
        match lack {
            Lack::Instances => self.evict(Duration::ZERO, |other| other.count.is(&wish.count)),
            Lack::Quota => self.evict(Duration::ZERO, same_share),
            Lack::Share => self.evict(Duration::ZERO, same_share) || self.evict(IDLE_AFTER, |other| other.share.is_some()),
            // Where tenants have all that is theirs, one of the built-in modules' is no help.
            Lack::Slot => {
                let of_tenants = wish.share.is_some() && self.lock().by_tenants >= self.of_tenants;
                self.evict(Duration::ZERO, |other| !of_tenants || other.share.is_some())
            }
        }
    }

    /// Has an idle sandbox give up its memory, one of the tenant's own first; false when there is none.
    pub(crate) fn clear_memory(&self, share: Option<&TenantShare>, lack: NoMemory) -> bool {
        let own = |other: &Wish| is_same(other.share.as_ref(), share);
        match lack {
            NoMemory::AboveQuota => self.evict(Duration::ZERO, own),
            NoMemory::AboveShare => self.evict(Duration::ZERO, own) || self.evict(IDLE_AFTER, |other| other.share.is_some()),
            NoMemory::OfAll => self.evict(Duration::ZERO, |_| true),
        }
    }

    /// The one of these sandboxes that was idle longest gives up its instance; false when none was idle for so long.
    fn evict(&self, idle: Duration, which: impl Fn(&Wish) -> bool) -> bool {
        let latest = self.now().saturating_sub(u64::try_from(idle.as_micros()).unwrap_or(u64::MAX));
        // The last handle of a place gives its slot back, for which the lock must be free.
        let found: Vec<Arc<Place>> = {
            let state = self.lock();
            let wanted = state.residents.values().filter(|resident| which(&resident.wish));
            wanted.filter_map(|resident| resident.place.upgrade()).collect()
        };
        let mut found: Vec<_> = found.iter().map(|place| (place.used_at(), place)).filter(|(used_at, _)| *used_at <= latest).collect();
        found.sort_unstable_by_key(|(used_at, _)| *used_at);
        let is_given_up = found.iter().any(|(_, place)| place.give_up());
        self.given_up.fetch_add(u64::from(is_given_up), Ordering::Relaxed);
        is_given_up
    }

    /// After a call: true when somebody waits whom this sandbox's slot would help.
    pub(crate) fn are_wanted_of(&self, wish: &Wish) -> bool {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return false;
        }
        let state = self.lock();
        let helps = |(_, other, lack): &(u64, Wish, Lack)| match lack {
            Lack::Slot => other.share.is_none() || wish.share.is_some() || state.by_tenants < self.of_tenants,
            Lack::Instances => other.count.is(&wish.count),
            Lack::Quota | Lack::Share => is_same(other.share.as_ref(), wish.share.as_ref()),
        };
        state.queue.iter().any(helps)
    }

    fn leave(&self, key: u64) {
        let mut state = self.lock();
        if let Some(Resident { wish, .. }) = state.residents.remove(&key) {
            state.by_all -= 1;
            state.by_tenants -= usize::from(wish.share.is_some());
            wish.share.inspect(TenantShare::remove_sandbox);
            wish.count.remove();
        }
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, wish: &Wish, place: &Arc<Place>) -> u64 {
        self.next += 1;
        self.by_all += 1;
        self.by_tenants += usize::from(wish.share.is_some());
        wish.share.as_ref().inspect(|share| share.add_sandbox());
        wish.count.add();
        self.residents.insert(self.next, Resident { wish: wish.clone(), place: Arc::downgrade(place) });
        self.next
    }
}

fn is_same(one: Option<&TenantShare>, two: Option<&TenantShare>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => one.is(two),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// A place in the queue.
struct Ticket<'a> {
    slots: &'a Slots,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.queue.retain(|(number, ..)| *number != self.number);
        self.slots.waiting.store(state.queue.len(), Ordering::Release);
        drop(state);
        // Whoever stood behind it may be the next.
        self.slots.changed.notify_all();
    }
}

/// A place for one sandbox.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    key: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.leave(self.key);
    }
}
