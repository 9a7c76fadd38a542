//! Which threads work on a run: those of the control plane, or those of the data plane.
//!
//! ```text
//!   control plane   plan, check, take over, prepare, load       a start is hundreds of round trips, each with a poll here
//!   data plane      capture, group, apply                       a row waits for whatever is polled before it
//! ```
//!
//! A run is one future with all that it knows. Whoever drives it polls it on the control plane's threads until it asks to be on the data plane's,
//! and the other way round; what it spawns and connects from then on is there, too. So a change never waits behind the start of another task,
//! but for what the kernel has to share out between threads.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

/// The threads of both planes.
#[derive(Debug, Clone)]
pub struct Planes {
    /// For what prepares and loads.
    pub control: Handle,
    /// For what follows a log.
    pub data: Handle,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plane {
    Control,
    Data,
}

/// What a run that is driven knows of who drives it.
#[derive(Clone)]
struct Driver {
    planes: Planes,
    wants_data: Arc<AtomicBool>,
}

tokio::task_local! {
    static DRIVER: Driver;
}

impl Driver {
    fn wanted(&self) -> Plane {
        if self.wants_data.load(Ordering::Relaxed) { Plane::Data } else { Plane::Control }
    }
}

/// What came of driving a run on one plane.
enum Driven<F: Future> {
    Ended(F::Output),
    Moves(Pin<Box<F>>),
}

/// Drives a run to its end, beginning on the control plane. Dropping this aborts the run.
///
/// # Errors
/// When the run panicked.
pub async fn drive<F>(planes: Planes, run: F) -> Result<F::Output, JoinError>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let driver = Driver { planes: planes.clone(), wants_data: Arc::default() };
    let mut run = Box::pin(DRIVER.scope(driver.clone(), run));
    loop {
        let plane = driver.wanted();
        let threads = match plane {
            Plane::Control => &planes.control,
            Plane::Data => &planes.data,
        };
        match AbortOnDropHandle::new(threads.spawn(until_moved(run, driver.clone(), plane))).await? {
            Driven::Ended(output) => return Ok(output),
            Driven::Moves(further) => run = further,
        }
    }
}

async fn until_moved<F: Future>(mut run: Pin<Box<F>>, driver: Driver, plane: Plane) -> Driven<F> {
    let ended = std::future::poll_fn(|context| match run.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if driver.wanted() != plane => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match ended.await {
        Some(output) => Driven::Ended(output),
        None => Driven::Moves(run),
    }
}

/// Goes on on this plane. Of a future that nobody [drives](drive) there is one plane only.
pub(crate) async fn enter(plane: Plane) {
    let wants_data = plane == Plane::Data;
    let moves = DRIVER.try_with(|driver| driver.wants_data.swap(wants_data, Ordering::Relaxed) != wants_data);
    if moves == Ok(true) {
        // Whoever drives moves it when it has to wait.
        tokio::task::yield_now().await;
    }
}

/// Where to spawn what belongs to the control plane.
pub(crate) fn control() -> Handle {
    DRIVER.try_with(|driver| driver.planes.control.clone()).unwrap_or_else(|_| Handle::current())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &'static str) -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build().unwrap()
    }

    fn thread() -> String {
        std::thread::current().name().unwrap().to_owned()
    }

    #[test]
    fn a_run_goes_to_the_plane_that_it_asks_for_and_back() {
        let (control, data) = (named("control"), named("data"));
        let planes = Planes { control: control.handle().clone(), data: data.handle().clone() };
        let run = async {
            let mut seen = vec![thread()];
            enter(Plane::Control).await;
            seen.push(thread());
            enter(Plane::Data).await;
            seen.push(thread());
            seen.push(tokio::spawn(async { thread() }).await.unwrap());
            seen.push(self::control().spawn(async { thread() }).await.unwrap());
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            seen.push(thread());
            enter(Plane::Control).await;
            seen.push(thread());
            seen
        };
        let seen = control.block_on(drive(planes, run)).unwrap();
        assert_eq!(seen, ["control", "control", "data", "data", "control", "data", "control"]);
    }

    #[test]
    fn a_run_without_a_driver_stays_where_it_is() {
        let here = named("here");
        let seen = here.block_on(async {
            tokio::spawn(async {
                enter(Plane::Data).await;
                (thread(), control().spawn(async { thread() }).await.unwrap())
            })
            .await
            .unwrap()
        });
        assert_eq!(seen, ("here".to_owned(), "here".to_owned()));
    }

    #[test]
    fn a_run_is_aborted_when_its_driver_is_dropped() {
        let (control, data) = (named("control"), named("data"));
        let planes = Planes { control: control.handle().clone(), data: data.handle().clone() };
        let (entered, has_entered) = tokio::sync::oneshot::channel();
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        let driving = control.spawn(drive(planes, async move {
            let _held = held;
            enter(Plane::Data).await;
            entered.send(()).unwrap();
            std::future::pending::<()>().await;
        }));
        control.block_on(async {
            has_entered.await.unwrap();
            driving.abort();
            dropped.await.expect_err("what the run held is dropped");
        });
    }
}
