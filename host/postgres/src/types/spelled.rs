//! Types whose values are read as the text that the server prints for them.
//!
//! Sources of the binary forms: `network.c`, `mac.c`, `mac8.c`, `varbit.c`, `date.c`, `pg_lsn.c`, `xml.c`, `geo_ops.c`, `char.c`,
//! `tid.c`, `jsonpath.c`, `tsvector.c`, `xid8funcs.c`, `arrayfuncs.c` of PostgreSQL, `ltree_io.c` and `cube.c` of contrib.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::calendar::time_text;
use super::decode::{Reason, fixed, utf8};
use super::printed::{bit_text, double, take_i32, take_value};
use super::query;

/// A type that is read as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelled {
    /// `inet` and `cidr`.
    Address,
    /// `macaddr` and `macaddr8`.
    Hardware,
    /// `oid`.
    ObjectId,
    /// `xid8`.
    TransactionId,
    /// `pg_lsn`.
    Lsn,
    /// `time with time zone`.
    TimeTz,
    /// `bit varying`, and `bit` of a length that is not told.
    Bits,
    /// `xml` and `refcursor`: the text as it is, in the session's UTF-8.
    Plain,
    /// `"char"`: one byte.
    Letter,
    /// `tid`: a row's block and place.
    Place,
    /// A version of 1 and a text: `jsonpath`, `ltree` and its kin.
    Versioned,
    /// Numbers in brackets.
    Shape(Shape),
    /// `tsvector`.
    Lexemes,
    /// `tsquery`.
    Query,
    /// `cube`.
    Cube,
    /// `pg_snapshot` and `txid_snapshot`.
    Snapshot,
    /// `int2vector` and `oidvector`: arrays from index 0 on, printed with blanks.
    Vector,
}

/// Geometric types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Point,
    Segment,
    Path,
    Box,
    Polygon,
    Line,
    Circle,
}

impl Spelled {
    /// By the type's object id. Source: pg_type.dat.
    pub(crate) fn by_oid(oid: u32) -> Option<Spelled> {
        Some(match oid {
            869 | 650 => Spelled::Address,
            829 | 774 => Spelled::Hardware,
            // Transaction and command ids are numbers like object ids.
            26 | 28 | 29 => Spelled::ObjectId,
            5069 => Spelled::TransactionId,
            3220 => Spelled::Lsn,
            1266 => Spelled::TimeTz,
            1560 | 1562 => Spelled::Bits,
            142 | 1790 => Spelled::Plain,
            18 => Spelled::Letter,
            27 => Spelled::Place,
            4072 => Spelled::Versioned,
            600 => Spelled::Shape(Shape::Point),
            601 => Spelled::Shape(Shape::Segment),
            602 => Spelled::Shape(Shape::Path),
            603 => Spelled::Shape(Shape::Box),
            604 => Spelled::Shape(Shape::Polygon),
            628 => Spelled::Shape(Shape::Line),
            718 => Spelled::Shape(Shape::Circle),
            3614 => Spelled::Lexemes,
            3615 => Spelled::Query,
            2970 | 5038 => Spelled::Snapshot,
            22 | 30 => Spelled::Vector,
            _ => return None,
        })
    }

    /// By the name of an extension's type.
    pub(crate) fn by_name(name: &str) -> Option<Spelled> {
        match name {
            "ltree" | "lquery" | "ltxtquery" => Some(Spelled::Versioned),
            "cube" => Some(Spelled::Cube),
            _ => None,
        }
    }

    /// The text of a binary form.
    pub(crate) fn text(self, bytes: &[u8]) -> Result<String, Reason> {
        Ok(match self {
            Spelled::Address => address(bytes)?,
            Spelled::Hardware => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
            Spelled::ObjectId => u32::from_be_bytes(fixed(bytes)?).to_string(),
            Spelled::TransactionId => u64::from_be_bytes(fixed(bytes)?).to_string(),
            Spelled::Lsn => {
                let number = u64::from_be_bytes(fixed(bytes)?);
                format!("{:X}/{:X}", number >> 32, number & 0xffff_ffff)
            }
            Spelled::TimeTz => time_tz(fixed(bytes)?)?,
            Spelled::Plain => utf8(bytes)?.to_owned(),
            Spelled::Bits => bit_text(bytes)?,
            Spelled::Letter => match fixed(bytes)? {
                [0] => String::new(),
                [byte] if byte.is_ascii() => char::from(byte).to_string(),
                [byte] => format!("\\{byte:03o}"),
            },
            Spelled::Place => {
                let [a, b, c, d, e, f] = fixed(bytes)?;
                format!("({},{})", u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]))
            }
            Spelled::Versioned => match bytes.split_first() {
                Some((1, text)) => utf8(text)?.to_owned(),
                _ => return Err("value is not of version 1".into()),
            },
            Spelled::Shape(shape) => shape.text(bytes)?,
            Spelled::Lexemes => lexemes(bytes)?,
            Spelled::Query => query::text(bytes)?,
            Spelled::Cube => cube(bytes)?,
            Spelled::Snapshot => snapshot(bytes)?,
            Spelled::Vector => vector(bytes)?,
        })
    }
}

impl Shape {
    fn text(self, bytes: &[u8]) -> Result<String, Reason> {
        let (head, numbers) = match self {
            Shape::Path => bytes.split_at_checked(5).ok_or("path is cut off")?,
            Shape::Polygon => bytes.split_at_checked(4).ok_or("polygon is cut off")?,
            Shape::Point | Shape::Segment | Shape::Box | Shape::Line | Shape::Circle => (&bytes[..0], bytes),
        };
        if !numbers.len().is_multiple_of(8) {
            return Err("shape is not of whole numbers".into());
        }
        let numbers: Vec<String> =
            numbers.chunks_exact(8).map(|number| Ok(double(f64::from_be_bytes(fixed(number)?)))).collect::<Result<_, Reason>>()?;
        let points = |numbers: &[String]| numbers.chunks(2).map(|point| format!("({})", point.join(","))).collect::<Vec<_>>().join(",");
        let counted = |head: &[u8]| Ok::<_, Reason>(usize::try_from(i32::from_be_bytes(fixed(head)?)).ok() == Some(numbers.len() / 2));
        Ok(match (self, numbers.len(), head) {
            (Shape::Point, 2, _) | (Shape::Box, 4, _) => points(&numbers),
            (Shape::Segment, 4, _) => format!("[{}]", points(&numbers)),
            (Shape::Line, 3, _) => format!("{{{}}}", numbers.join(",")),
            (Shape::Circle, 3, _) => format!("<{},{}>", points(&numbers[..2]), numbers[2]),
            (Shape::Polygon, _, count) if counted(count)? => format!("({})", points(&numbers)),
            (Shape::Path, _, [closed, count @ ..]) if counted(count)? => {
                if *closed == 0 {
                    format!("[{}]", points(&numbers))
                } else {
                    format!("({})", points(&numbers))
                }
            }
            _ => return Err("shape has another count of numbers than its type".into()),
        })
    }
}

/// `'word':1A,2 'other'`. The weight stands in the two upper bits of a place, A being 3 and D, which is not printed, 0.
fn lexemes(bytes: &[u8]) -> Result<String, Reason> {
    let error = || Reason::from("tsvector is cut off");
    let (count, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(error)?;
    let mut all = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let end = rest.iter().position(|byte| *byte == 0).ok_or_else(error)?;
        let mut text = format!("'{}'", utf8(&rest[..end])?.replace('\'', "''").replace('\\', "\\\\"));
        let (places, tail) = rest[end + 1..].split_first_chunk::<2>().ok_or_else(error)?;
        let (places, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*places)) * 2).ok_or_else(error)?;
        for (index, place) in places.chunks_exact(2).enumerate() {
            let place = u16::from_be_bytes(fixed(place)?);
            text.push(if index == 0 { ':' } else { ',' });
            text.push_str(&(place & 0x3fff).to_string());
            text.push_str(["", "C", "B", "A"][usize::from(place >> 14)]);
        }
        all.push(text);
        rest = tail;
    }
    if rest.is_empty() { Ok(all.join(" ")) } else { Err("tsvector is longer than its lexemes".into()) }
}

/// `(1, 2),(3, 4)`, and `(1, 2)` of a point. The highest bit of the count of dimensions says that there is one corner alone; two
/// equal ones are printed as one, too.
fn cube(bytes: &[u8]) -> Result<String, Reason> {
    let mut rest = bytes;
    let head = take_i32(&mut rest)?;
    let (is_point, dimensions) = (head < 0, (head & i32::MAX) as usize);
    let numbers = if is_point { dimensions } else { dimensions.saturating_mul(2) };
    if numbers.checked_mul(8) != Some(rest.len()) {
        return Err("cube's dimensions do not fit its bytes".into());
    }
    let numbers: Vec<f64> = rest.chunks_exact(8).map(|number| Ok(f64::from_be_bytes(fixed(number)?))).collect::<Result<_, Reason>>()?;
    let corner = |numbers: &[f64]| format!("({})", numbers.iter().map(|number| double(*number)).collect::<Vec<_>>().join(", "));
    let (one, other) = numbers.split_at(dimensions);
    Ok(if is_point || one == other { corner(one) } else { format!("{},{}", corner(one), corner(other)) })
}

/// `10:20:10,14,15`.
fn snapshot(bytes: &[u8]) -> Result<String, Reason> {
    let mut rest = bytes;
    let count = usize::try_from(take_i32(&mut rest)?).map_err(|_| "snapshot has a negative count")?;
    if count.checked_add(2).and_then(|count| count.checked_mul(8)) != Some(rest.len()) {
        return Err("snapshot's count does not fit its bytes".into());
    }
    let numbers: Vec<String> =
        rest.chunks_exact(8).map(|number| Ok(u64::from_be_bytes(fixed(number)?).to_string())).collect::<Result<_, Reason>>()?;
    Ok(format!("{}:{}:{}", numbers[0], numbers[1], numbers[2..].join(",")))
}

fn vector(bytes: &[u8]) -> Result<String, Reason> {
    let mut rest = bytes;
    let (dimensions, _has_null, _element) = (take_i32(&mut rest)?, take_i32(&mut rest)?, take_i32(&mut rest)?);
    if !(0..=1).contains(&dimensions) {
        return Err("vector has more than one dimension".into());
    }
    for _ in 0..dimensions * 2 {
        // Length and lower bound: the elements end where the bytes do.
        take_i32(&mut rest)?;
    }
    let mut all = Vec::new();
    while !rest.is_empty() {
        all.push(match take_value(&mut rest)? {
            Some(&[a, b]) => i16::from_be_bytes([a, b]).to_string(),
            Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]).to_string(),
            _ => return Err("vector has an element that is no number".into()),
        });
    }
    Ok(all.join(" "))
}

fn address(bytes: &[u8]) -> Result<String, Reason> {
    let [_family, prefix, is_cidr, length, address @ ..] = bytes else { return Err("address is cut off".into()) };
    if usize::from(*length) != address.len() {
        return Err("address has another length than it says".into());
    }
    let (text, most) = match address.len() {
        4 => (Ipv4Addr::from(fixed::<4>(address)?).to_string(), 32),
        16 => (Ipv6Addr::from(fixed::<16>(address)?).to_string(), 128),
        _ => return Err("address is neither of 4 nor of 16 bytes".into()),
    };
    Ok(if *prefix == most && *is_cidr == 0 { text } else { format!("{text}/{prefix}") })
}

fn time_tz(bytes: [u8; 12]) -> Result<String, Reason> {
    let time = i64::from_be_bytes(fixed(&bytes[..8])?);
    // Seconds west of Greenwich.
    let west = i32::from_be_bytes(fixed(&bytes[8..])?);
    let (sign, zone) = if west > 0 { ('-', west.unsigned_abs()) } else { ('+', west.unsigned_abs()) };
    let mut text = format!("{}{sign}{:02}", time_text(time), zone / 3_600);
    if zone % 3_600 != 0 {
        text.push_str(&format!(":{:02}", zone / 60 % 60));
    }
    if zone % 60 != 0 {
        text.push_str(&format!(":{:02}", zone % 60));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_that_the_server_prints() {
        let cases: [(Spelled, &[u8], &str); 17] = [
            (Spelled::Address, &[2, 8, 0, 4, 10, 0, 0, 1], "10.0.0.1/8"),
            (Spelled::Address, &[2, 32, 0, 4, 10, 0, 0, 1], "10.0.0.1"),
            (Spelled::Address, &[2, 32, 1, 4, 10, 0, 0, 1], "10.0.0.1/32"),
            (Spelled::Hardware, &[8, 0, 0x2b, 1, 2, 3], "08:00:2b:01:02:03"),
            (Spelled::ObjectId, &[255; 4], "4294967295"),
            (Spelled::TransactionId, &[255; 8], "18446744073709551615"),
            (Spelled::Lsn, &[0, 0, 0, 0x16, 0xb3, 0x74, 0xd8, 0x48], "16/B374D848"),
            (Spelled::TimeTz, &[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xf1, 0xf0], "00:00:00+01"),
            (Spelled::Bits, &[0, 0, 0, 5, 0b0010_1000], "00101"),
            (Spelled::Letter, &[0xe9], "\\351"),
            (Spelled::Letter, &[0], ""),
            (Spelled::Place, &[0, 0, 0, 9, 0, 3], "(9,3)"),
            (Spelled::Versioned, b"\x01Top.Science", "Top.Science"),
            (Spelled::Snapshot, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 11], "9:256:11"),
            (Spelled::Vector, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff], "-1"),
            (Spelled::Vector, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 26], ""),
            (Spelled::Lexemes, b"\0\0\0\x02it's\0\0\x02\xc0\x01\0\x02b\0\0\0", "'it''s':1A,2 'b'"),
        ];
        for (kind, bytes, text) in cases {
            assert_eq!(kind.text(bytes).as_deref(), Ok(text));
        }
        assert!(Spelled::Address.text(&[2, 8, 0, 4, 10]).is_err() && Spelled::Lsn.text(&[1]).is_err());
        assert!(Spelled::Lexemes.text(b"\0\0\0\x01a").is_err() && Spelled::Versioned.text(b"\x02a").is_err());
    }

    #[test]
    fn cubes_of_one_corner_are_points() {
        let bytes = |head: u32, numbers: &[f64]| {
            [&head.to_be_bytes()[..], &numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>()].concat()
        };
        for (head, numbers, text) in [
            (1 << 31 | 2, &[1.0, -2.5][..], "(1, -2.5)"),
            (2, &[1.0, 2.0, 3.0, 1e20], "(1, 2),(3, 1e+20)"),
            (1, &[1.0, 1.0], "(1)"),
            (1, &[f64::NAN, f64::NAN], "(NaN),(NaN)"),
            (1 << 31, &[], "()"),
        ] {
            let bytes = bytes(head, numbers);
            assert_eq!(Spelled::Cube.text(&bytes).as_deref(), Ok(text));
            assert!(Spelled::Cube.text(&[&bytes[..], &[0; 8]].concat()).is_err() && Spelled::Cube.text(&bytes[..bytes.len() - 1]).is_err());
        }
        assert!(Spelled::Cube.text(&[0x7f, 0xff, 0xff, 0xff]).is_err() && Spelled::Snapshot.text(&[0x7f, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn shapes_have_the_servers_brackets() {
        let bytes =
            |head: &[u8], numbers: &[f64]| [head, &numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>()].concat();
        let cases = [
            (Shape::Point, bytes(&[], &[1.0, 2.5]), "(1,2.5)"),
            (Shape::Segment, bytes(&[], &[1.0, 2.0, 3.0, 4.0]), "[(1,2),(3,4)]"),
            (Shape::Box, bytes(&[], &[3.0, 4.0, 1.0, 2.0]), "(3,4),(1,2)"),
            (Shape::Line, bytes(&[], &[1.0, -1.0, 0.0]), "{1,-1,0}"),
            (Shape::Circle, bytes(&[], &[1.0, 2.0, 3.0]), "<(1,2),3>"),
            (Shape::Polygon, bytes(&[0, 0, 0, 2], &[0.0, 0.0, 1.0, 1e20]), "((0,0),(1,1e+20))"),
            (Shape::Path, bytes(&[1, 0, 0, 0, 1], &[0.0, f64::INFINITY]), "((0,Infinity))"),
            (Shape::Path, bytes(&[0, 0, 0, 0, 1], &[0.0, 1.0]), "[(0,1)]"),
        ];
        for (shape, bytes, text) in &cases {
            assert_eq!(shape.text(bytes).as_deref(), Ok(*text));
            assert!(shape.text(&bytes[..bytes.len() - 1]).is_err() && shape.text(&bytes[..bytes.len() - 8]).is_err(), "{text}");
        }
    }
}
