//! Waiting for a condition, never for a time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Asks until `condition` answers `Ok`, and returns what it answered; panics after `timeout` with the last `Err`, which
/// is the state that was seen instead.
pub async fn wait_for<T, S: Debug>(what: &str, timeout: Duration, mut condition: impl AsyncFnMut() -> Result<T, S>) -> T {
    let since = Instant::now();
    loop {
        let seen = match condition().await {
            Ok(value) => return value,
            Err(seen) => seen,
        };
        assert!(since.elapsed() < timeout, "waited {} s for {what}; last seen: {seen:?}", timeout.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_value_that_was_waited_for_is_returned() {
        let mut asked = 0;
        let value = wait_for("three questions", Duration::from_secs(5), || {
            asked += 1;
            let asked = asked;
            async move { if asked == 3 { Ok("third") } else { Err(asked) } }
        })
        .await;
        assert_eq!(value, "third");
    }

    #[tokio::test]
    #[should_panic(expected = "for the impossible; last seen: \"only this\"")]
    async fn a_wait_in_vain_shows_what_was_seen() {
        wait_for("the impossible", Duration::from_millis(100), async || Err::<(), _>("only this")).await;
    }
}
