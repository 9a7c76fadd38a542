//! The web console in a real Chromium: against a server with a task that really runs, without tasks, with a thousand, and without a
//! server. Pictures of every page stay in `target/console-screenshots/`.

#![allow(clippy::unwrap_used)]

mod look;
mod pages;
mod steering;
mod world;
