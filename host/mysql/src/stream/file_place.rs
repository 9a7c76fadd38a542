//! Where in the binary log's files the stream is.
//!
//! An event tells its end in 32 bits, and a file may be larger: a transaction is never cut, however long it is. So what an event
//! tells is how much further it ends than the one before. From MariaDB 11.8 on events inside of a transaction tell no end at all (0); then their
//! sizes say about how far the log went.

use tidegate_model::LogPlace;

use crate::binlog::event::{Kind, RawEvent};

/// `LOG_EVENT_ARTIFICIAL_F`: made for this dump, and in no file.
const ARTIFICIAL: u16 = 0x20;

const ROTATE: u8 = 4;

/// More than all the events have that are sent with an end of 0 and are in no file.
const SLACK: u64 = 1 << 20;

/// The end of the last event. Before the first rotation, which begins every dump, it has no name.
#[derive(Debug, Default)]
pub(crate) struct FilePlace {
    file: String,
    offset: u64,
    /// Bytes of events since then that told no end.
    unsaid: u64,
}

impl FilePlace {
    /// Moves to the event's end. The same event twice is the same as once.
    pub(crate) fn pass(&mut self, event: &RawEvent) {
        if event.code == ROTATE {
            self.rotate(&event.without_checksum());
        } else if event.flags & ARTIFICIAL != 0 || Kind::of(event.code) == Some(Kind::Heartbeat) {
            // In no file.
        } else if event.end == 0 {
            self.unsaid += u64::from(event.size);
        } else {
            // An event may be a little larger here than in the file, or in none, which may not count as 4 GiB more.
            let at_least = self.offset + self.unsaid.saturating_sub(self.unsaid / 8 + SLACK);
            // Right as long as the server leaves out less than 4 GiB at a time, because we have it already.
            self.offset = at_least + u64::from(event.end.wrapping_sub(at_least as u32));
            self.unsaid = 0;
        }
    }

    /// A rotation names the next file, and the place of its first event that is sent.
    fn rotate(&mut self, body: &[u8]) {
        let Some((offset, name)) = body.split_first_chunk() else { return };
        self.offset = u64::from_le_bytes(*offset);
        self.unsaid = 0;
        self.file = name.iter().take_while(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect();
    }

    /// The file, without its directory.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Bytes from the file's beginning.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// As other parts know it.
    pub(crate) fn named(&self) -> LogPlace {
        LogPlace { file: self.file.clone(), offset: self.offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: u8, end: u64, flags: u16, body: &[u8]) -> RawEvent {
        RawEvent { timestamp: 0, code, server: 1, size: 0, end: end as u32, flags, body: body.to_vec().into() }
    }

    fn rotation(to: &str, offset: u64) -> RawEvent {
        event(ROTATE, 900, 0, &[&offset.to_le_bytes(), to.as_bytes()].concat())
    }

    #[test]
    fn offsets_above_4_gib_are_counted_by_what_lies_between_two_events() {
        const GIB: u64 = 1 << 30;
        let mut place = FilePlace::default();
        let steps = [
            (rotation("binlog.000007", 4), 4),
            (event(15, 0, 0, b""), 4),
            (event(30, GIB, 0, b""), GIB),
            // Made for the dump, or a sign of life: neither is in the file.
            (event(163, 50, ARTIFICIAL, b""), GIB),
            (event(27, 60, 0, b""), GIB),
            (event(30, 3 * GIB, 0, b""), 3 * GIB),
            (event(30, 4 * GIB + 100, 0, b""), 4 * GIB + 100),
            (event(30, 4 * GIB + 100, 0, b""), 4 * GIB + 100),
            (event(16, 4 * GIB + 131, 0, b""), 4 * GIB + 131),
            (event(30, 7 * GIB, 0, b""), 7 * GIB),
            (event(16, 9 * GIB, 0, b""), 9 * GIB),
            (rotation("binlog.000008", 4), 4),
            (event(33, 200, 0, b""), 200),
        ];
        for (number, (event, wanted)) in steps.into_iter().enumerate() {
            place.pass(&event);
            assert_eq!(place.offset(), wanted, "step {number}");
        }
        assert_eq!(place.named().to_string(), "binlog.000008:200");
    }

    #[test]
    fn events_that_tell_no_end_count_by_their_size() {
        const GIB: u64 = 1 << 30;
        let unsaid = |size: u64| RawEvent { size: size as u32, ..event(30, 0, 0, b"") };
        let mut place = FilePlace::default();
        place.pass(&rotation("binlog.000007", 4));
        place.pass(&unsaid(120));
        place.pass(&event(162, 500, 0, b""));
        assert_eq!(place.offset(), 500, "a few bytes in no file do not count as 4 GiB more");
        for _ in 0..9 {
            place.pass(&unsaid(GIB));
        }
        assert_eq!(place.offset(), 500, "what is not known is not told");
        place.pass(&event(16, 9 * GIB + 700, 0, b""));
        assert_eq!(place.offset(), 9 * GIB + 700);
        place.pass(&event(162, 9 * GIB + 742, 0, b""));
        assert_eq!(place.offset(), 9 * GIB + 742);
    }
}
