//! Where in the binary log's files the stream is.
//!
//! An event tells its end in 32 bits, and a file may be larger: a transaction is never cut, however long it is. So what an event
//! tells is how much further it ends than the one before.

use tidegate_model::LogPlace;

use crate::binlog::event::{Kind, RawEvent};

/// `LOG_EVENT_ARTIFICIAL_F`: made for this dump, and in no file.
const ARTIFICIAL: u16 = 0x20;

const ROTATE: u8 = 4;

/// The end of the last event. Before the first rotation, which begins every dump, it has no name.
#[derive(Debug, Default)]
pub(crate) struct FilePlace {
    file: String,
    offset: u64,
}

impl FilePlace {
    /// Moves to the event's end. The same event twice is the same as once.
    pub(crate) fn pass(&mut self, event: &RawEvent) {
        if event.code == ROTATE {
            self.rotate(&event.without_checksum());
        } else if event.end != 0 && event.flags & ARTIFICIAL == 0 && Kind::of(event.code) != Some(Kind::Heartbeat) {
            // Right as long as the server leaves out less than 4 GiB at a time, because we have it already.
            self.offset += u64::from(event.end.wrapping_sub(self.offset as u32));
        }
    }

    /// A rotation names the next file, and the place of its first event that is sent.
    fn rotate(&mut self, body: &[u8]) {
        let Some((offset, name)) = body.split_first_chunk() else { return };
        self.offset = u64::from_le_bytes(*offset);
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
}
