//! Tells apart the time in which a reader waits for its server and the time in which it makes rows of what came.
//!
//! The clock is read when something must be waited for, not for each row: rows that have arrived cost nothing.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long a reader decoded, over all its calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decoding {
    decoded: Duration,
}

impl Decoding {
    /// Decoding begins, and ends with [`Stretch::end`].
    pub fn begin(&mut self) -> Stretch<'_> {
        Stretch { decoding: self, since: Instant::now(), waited: Duration::ZERO }
    }

    /// All of it so far.
    pub fn total(&self) -> Duration {
        self.decoded
    }
}

/// A stretch of decoding, counted when it is dropped.
#[derive(Debug)]
pub struct Stretch<'a> {
    decoding: &'a mut Decoding,
    since: Instant,
    waited: Duration,
}

impl Stretch<'_> {
    /// Waits for somebody else, which is no decoding. Safe to cancel when `other` is.
    pub async fn wait<F: Future>(&mut self, other: F) -> F::Output {
        let mut other = pin!(other);
        if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(other.as_mut().poll(context))).await {
            return output;
        }
        let since = Instant::now();
        let output = other.await;
        self.waited += since.elapsed();
        output
    }

    /// The stretch is over.
    pub fn end(self) {}
}

impl Drop for Stretch<'_> {
    fn drop(&mut self) {
        self.decoding.decoded += self.since.elapsed().saturating_sub(self.waited);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    /// Ready when asked the second time, after that long.
    fn second_time(pause: Duration) -> impl Future<Output = ()> {
        let mut asked = false;
        poll_fn(move |_| {
            if std::mem::replace(&mut asked, true) {
                std::thread::sleep(pause);
                return Poll::Ready(());
            }
            Poll::Pending
        })
    }

    fn to_the_end<F: Future>(future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
        }
    }

    #[test]
    fn waiting_is_no_decoding_and_work_is() {
        let mut decoding = Decoding::default();
        let began = Instant::now();
        let mut stretch = decoding.begin();
        to_the_end(stretch.wait(second_time(Duration::from_millis(30))));
        assert_eq!(to_the_end(stretch.wait(std::future::ready(7))), 7);
        std::thread::sleep(Duration::from_millis(10));
        stretch.end();
        let total = decoding.total();
        assert!(total >= Duration::from_millis(10) && total <= began.elapsed() - Duration::from_millis(30), "{total:?}");
    }
}
