//! Places in a source's log, and the transactions that they cover.
//!
//! A [`Position`] is a set of transactions: those that are behind it. PostgreSQL's is a prefix of the log, MySQL's a
//! GTID set, MariaDB's the last GTID of each domain. A [`TxMark`] names one transaction. The only questions asked are
//! "is this transaction behind?" and "where are we after it?", so nothing outside this file compares positions.
//!
//! Text forms, as kept in checkpoints and shown to people: `postgres:0/16B3748`,
//! `mysql:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7`, `mariadb:0-1-100,2-1-7`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Byte offset in the PostgreSQL write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let parse = |part: &str| {
            let form = !part.is_empty() && part.len() <= 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            if form { u64::from_str_radix(part, 16).ok() } else { None }
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Lsn(parse(high)? << 32 | parse(low)?)))
            .ok_or_else(|| PositionError::new(text, "an LSN like 16/B374D848"))
    }
}

/// The origin of MySQL GTIDs: a server's UUID and, since 8.4, an optional tag (empty without).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GtidSource {
    /// The server's UUID.
    pub uuid: [u8; 16],
    /// The tag, lower case.
    pub tag: String,
}

/// A set of MySQL GTIDs: for each source, sorted disjoint ranges `start..=end`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct GtidSet(BTreeMap<GtidSource, Vec<(u64, u64)>>);

impl GtidSet {
    /// Adds the GTIDs `start..=end` of a source.
    pub fn add(&mut self, source: GtidSource, start: u64, end: u64) {
        if start > end {
            return;
        }
        let ranges = self.0.entry(source).or_default();
        // The usual case: the next number of the last range.
        if let Some(last) = ranges.last_mut()
            && last.1.checked_add(1) == Some(start)
        {
            last.1 = end;
            return;
        }
        ranges.push((start, end));
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (start, end) in ranges.drain(..) {
            match merged.last_mut() {
                Some(last) if start <= last.1.saturating_add(1) => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        *ranges = merged;
    }

    /// True when the set holds this GTID.
    pub fn contains(&self, source: &GtidSource, sequence: u64) -> bool {
        self.0.get(source).is_some_and(|ranges| ranges.iter().any(|(start, end)| (*start..=*end).contains(&sequence)))
    }

    /// True when the set holds all of `other`.
    pub fn contains_set(&self, other: &GtidSet) -> bool {
        self.intersection(other) == *other
    }

    /// True without any GTID.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sources with their ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&GtidSource, &[(u64, u64)])> {
        self.0.iter().map(|(source, ranges)| (source, ranges.as_slice()))
    }

    fn union(&self, other: &GtidSet) -> GtidSet {
        let mut all = self.clone();
        for (source, ranges) in &other.0 {
            for (start, end) in ranges {
                all.add(source.clone(), *start, *end);
            }
        }
        all
    }

    fn intersection(&self, other: &GtidSet) -> GtidSet {
        let mut both = GtidSet::default();
        for (source, ranges) in &self.0 {
            for (start, end) in ranges {
                for (other_start, other_end) in other.0.get(source).into_iter().flatten() {
                    both.add(source.clone(), *start.max(other_start), *end.min(other_end));
                }
            }
        }
        both
    }
}

impl fmt::Display for GtidSet {
    /// MySQL's own text form, accepted by `GTID_SUBSET` and by `SET gtid_purged`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (source, ranges)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}", uuid_text(&source.uuid))?;
            if !source.tag.is_empty() {
                write!(f, ":{}", source.tag)?;
            }
            for (start, end) in ranges {
                if start == end {
                    write!(f, ":{start}")?;
                } else {
                    write!(f, ":{start}-{end}")?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = PositionError;

    /// Reads the form that `@@gtid_executed` has, blanks and line breaks included.
    fn from_str(text: &str) -> Result<Self, PositionError> {
        let error = || PositionError::new(text, "a GTID set like uuid:1-5:7");
        let mut set = GtidSet::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut fields = part.split(':').map(str::trim);
            let uuid = parse_uuid(fields.next().unwrap_or_default()).ok_or_else(error)?;
            let mut tag = String::new();
            for field in fields {
                if field.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
                    tag = field.to_ascii_lowercase();
                    continue;
                }
                let (start, end) = field.split_once('-').unwrap_or((field, field));
                let start: u64 = start.trim().parse().map_err(|_| error())?;
                let end: u64 = end.trim().parse().map_err(|_| error())?;
                if start == 0 || end < start {
                    return Err(error());
                }
                set.add(GtidSource { uuid, tag: tag.clone() }, start, end);
            }
        }
        Ok(set)
    }
}

/// MariaDB's position: for each replication domain, the last GTID's server and sequence number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct DomainPositions(BTreeMap<u32, (u32, u64)>);

impl DomainPositions {
    /// Sets the last GTID of a domain.
    pub fn set(&mut self, domain: u32, server: u32, sequence: u64) {
        self.0.insert(domain, (server, sequence));
    }

    /// The last GTID of a domain: server and sequence number.
    pub fn get(&self, domain: u32) -> Option<(u32, u64)> {
        self.0.get(&domain).copied()
    }

    fn merged(&self, other: &DomainPositions, keep_later: bool) -> DomainPositions {
        let mut all = BTreeMap::new();
        for domain in self.0.keys().chain(other.0.keys()) {
            let kept = match (self.get(*domain), other.get(*domain)) {
                (Some(one), Some(two)) if keep_later == (one.1 >= two.1) => Some(one),
                (Some(_), Some(two)) => Some(two),
                (one, two) => {
                    if keep_later {
                        one.or(two)
                    } else {
                        None
                    }
                }
            };
            if let Some(kept) = kept {
                all.insert(*domain, kept);
            }
        }
        DomainPositions(all)
    }
}

impl fmt::Display for DomainPositions {
    /// MariaDB's own text form, accepted by `@slave_connect_state`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (domain, (server, sequence))) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

impl FromStr for DomainPositions {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut positions = DomainPositions::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut fields = part.split('-');
            let gtid = (|| Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)))();
            let (domain, server, sequence) =
                gtid.filter(|_| fields.next().is_none()).ok_or_else(|| PositionError::new(text, "GTIDs like 0-1-100"))?;
            positions.set(domain, server, sequence);
        }
        Ok(positions)
    }
}

/// One committed transaction of a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TxMark {
    /// PostgreSQL: the end of the commit record.
    Postgres {
        /// First byte after the commit record.
        end: Lsn,
    },
    /// MySQL.
    Mysql {
        /// Server and tag.
        source: GtidSource,
        /// The number.
        sequence: u64,
    },
    /// MariaDB.
    Mariadb {
        /// Replication domain.
        domain: u32,
        /// The server that wrote it first.
        server: u32,
        /// The number.
        sequence: u64,
    },
}

impl fmt::Display for TxMark {
    /// As the server itself writes it: `16/B374D848`, `3e11fa47-71ca-11e1-9e33-c80aa9429562:7`, `0-1-100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TxMark::Postgres { end } => write!(f, "{end}"),
            TxMark::Mysql { source, sequence } if source.tag.is_empty() => write!(f, "{}:{sequence}", uuid_text(&source.uuid)),
            TxMark::Mysql { source, sequence } => write!(f, "{}:{}:{sequence}", uuid_text(&source.uuid), source.tag),
            TxMark::Mariadb { domain, server, sequence } => write!(f, "{domain}-{server}-{sequence}"),
        }
    }
}

/// A place in a source's log, seen as the set of transactions behind it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Position {
    /// PostgreSQL: all transactions whose commit record ends at or before it.
    Postgres(Lsn),
    /// MySQL: executed GTIDs.
    Mysql(GtidSet),
    /// MariaDB: last GTID of each domain.
    Mariadb(DomainPositions),
}

impl Position {
    /// True when the transaction is behind this position. False for a transaction of another kind of source.
    pub fn covers(&self, mark: &TxMark) -> bool {
        match (self, mark) {
            (Position::Postgres(lsn), TxMark::Postgres { end }) => end <= lsn,
            (Position::Mysql(set), TxMark::Mysql { source, sequence }) => set.contains(source, *sequence),
            (Position::Mariadb(positions), TxMark::Mariadb { domain, sequence, .. }) => {
                positions.get(*domain).is_some_and(|(_, last)| *sequence <= last)
            }
            (Position::Postgres(_) | Position::Mysql(_) | Position::Mariadb(_), _) => false,
        }
    }

    /// True when everything behind `other` is behind this position too. False between kinds of sources.
    pub fn covers_position(&self, other: &Position) -> bool {
        self.union(other) == *self && std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Moves past a transaction. A transaction of another kind of source, or one that is behind, changes nothing.
    pub fn advance(&mut self, mark: &TxMark) {
        if self.covers(mark) {
            return;
        }
        match (self, mark) {
            (Position::Postgres(lsn), TxMark::Postgres { end }) => *lsn = *end,
            (Position::Mysql(set), TxMark::Mysql { source, sequence }) => set.add(source.clone(), *sequence, *sequence),
            (Position::Mariadb(positions), TxMark::Mariadb { domain, server, sequence }) => positions.set(*domain, *server, *sequence),
            (Position::Postgres(_) | Position::Mysql(_) | Position::Mariadb(_), _) => {}
        }
    }

    /// Everything behind either. Of two kinds of sources, `self`.
    pub fn union(&self, other: &Position) -> Position {
        match (self, other) {
            (Position::Postgres(one), Position::Postgres(two)) => Position::Postgres(*one.max(two)),
            (Position::Mysql(one), Position::Mysql(two)) => Position::Mysql(one.union(two)),
            (Position::Mariadb(one), Position::Mariadb(two)) => Position::Mariadb(one.merged(two, true)),
            (Position::Postgres(_) | Position::Mysql(_) | Position::Mariadb(_), _) => self.clone(),
        }
    }

    /// Everything behind both. Of two kinds of sources, `self`.
    pub fn intersection(&self, other: &Position) -> Position {
        match (self, other) {
            (Position::Postgres(one), Position::Postgres(two)) => Position::Postgres(*one.min(two)),
            (Position::Mysql(one), Position::Mysql(two)) => Position::Mysql(one.intersection(two)),
            (Position::Mariadb(one), Position::Mariadb(two)) => Position::Mariadb(one.merged(two, false)),
            (Position::Postgres(_) | Position::Mysql(_) | Position::Mariadb(_), _) => self.clone(),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Postgres(lsn) => write!(f, "postgres:{lsn}"),
            Position::Mysql(set) => write!(f, "mysql:{set}"),
            Position::Mariadb(positions) => write!(f, "mariadb:{positions}"),
        }
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        match text.split_once(':') {
            Some(("postgres", rest)) => rest.parse().map(Position::Postgres),
            Some(("mysql", rest)) => rest.parse().map(Position::Mysql),
            Some(("mariadb", rest)) => rest.parse().map(Position::Mariadb),
            _ => Err(PositionError::new(text, "a position like postgres:0/16B3748, mysql:uuid:1-5 or mariadb:0-1-100")),
        }
    }
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{found}\" is not {wanted}")]
pub struct PositionError {
    found: String,
    wanted: &'static str,
}

impl PositionError {
    fn new(found: &str, wanted: &'static str) -> Self {
        // Positions come from users too, so what is echoed is bounded.
        Self { found: found.chars().take(200).collect(), wanted }
    }
}

/// The usual text form of a UUID.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let hex: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    if hex.len() != 32 || !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut uuid = [0; 16];
    for (byte, pair) in uuid.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn position(text: &str) -> Position {
        text.parse().expect("the test's own positions are well formed")
    }

    #[test]
    fn text_forms_read_back() {
        for text in ["postgres:16/B374D848", "mariadb:0-1-100,2-1-7", "mysql:", "mariadb:"] {
            assert_eq!(position(text).to_string(), text);
        }
        assert_eq!(position(&format!("mysql:{UUID}:1-5:7,\n{UUID}:blue:3")).to_string(), format!("mysql:{UUID}:1-5:7,{UUID}:blue:3"));
        for text in ["", "postgres:1", "postgres:+1/2", "mysql:xyz:1", "mysql:3e11:1", "mariadb:1-2", "mariadb:1-2-3-4", "oracle:1"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }

    #[test]
    fn gtid_ranges_merge_and_contain() {
        let Position::Mysql(mut set) = position(&format!("mysql:{UUID}:5-7:1-2")) else { panic!("parsed as mysql") };
        let source = GtidSource { uuid: parse_uuid(UUID).expect("constant"), tag: String::new() };
        assert!(!set.contains(&source, 3));
        set.add(source.clone(), 3, 4);
        assert_eq!(set.to_string(), format!("{UUID}:1-7"));
        set.add(source.clone(), 8, 8);
        assert!(set.contains(&source, 8) && !set.contains(&source, 9));
        assert!(!set.contains(&GtidSource { tag: "blue".into(), ..source }, 1));
    }

    #[test]
    fn a_position_covers_what_it_advanced_past() {
        let uuid = parse_uuid(UUID).expect("constant");
        let cases = [
            (position("postgres:0/10"), TxMark::Postgres { end: Lsn(0x20) }),
            (position("mysql:"), TxMark::Mysql { source: GtidSource { uuid, tag: "t".into() }, sequence: 9 }),
            (position("mariadb:1-1-5"), TxMark::Mariadb { domain: 0, server: 3, sequence: 9 }),
        ];
        for (start, mark) in cases {
            let mut moved = start.clone();
            assert!(!start.covers(&mark));
            moved.advance(&mark);
            assert!(moved.covers(&mark) && moved.covers_position(&start) && !start.covers_position(&moved));
            assert_eq!(start.intersection(&moved), start);
            assert_eq!(start.union(&moved), moved);
        }
    }

    #[test]
    fn a_position_of_another_kind_covers_nothing() {
        assert!(!position("postgres:FF/0").covers(&TxMark::Mariadb { domain: 0, server: 1, sequence: 1 }));
        assert!(!position("postgres:FF/0").covers_position(&position("mariadb:")));
    }
}
