//! The binary form of `numeric`: digits in base 10,000, the scale kept (`1.10` stays `1.10`).

use super::decode::{Reason, fixed};

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const PLUS_INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// The text that the server itself would print.
pub(crate) fn text(bytes: &[u8]) -> Result<String, Reason> {
    let (head, digits) = bytes.split_first_chunk::<8>().ok_or("numeric is shorter than its header")?;
    let field = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (count, weight, sign, scale) = (usize::from(field(0)), i32::from(field(2) as i16), field(4), usize::from(field(6)));
    if digits.len() != count * 2 {
        return Err("numeric's count of digits does not fit its bytes".into());
    }
    let mut out = String::with_capacity(8 + count * 4);
    match sign {
        0 => {}
        NEGATIVE => out.push('-'),
        NAN => return Ok("NaN".into()),
        PLUS_INFINITY => return Ok("Infinity".into()),
        MINUS_INFINITY => return Ok("-Infinity".into()),
        _ => return Err("numeric has an unknown sign".into()),
    }
    // NUMERIC_DSCALE_MASK: the scale has 14 bits.
    if scale > 0x3fff {
        return Err("numeric's scale is above 16383".into());
    }
    let group = |place: i32| -> Result<u16, Reason> {
        let Some(pair) = usize::try_from(place).ok().and_then(|place| digits.get(place * 2..place * 2 + 2)) else {
            return Ok(0);
        };
        let value = u16::from_be_bytes(fixed(pair)?);
        if value < 10_000 { Ok(value) } else { Err("numeric has a digit above 9999".into()) }
    };
    if weight < 0 {
        out.push('0');
    }
    for place in 0..=weight {
        let value = group(place)?;
        out.push_str(&if place == 0 { value.to_string() } else { format!("{value:04}") });
    }
    if scale > 0 {
        out.push('.');
        let whole = out.len();
        let mut place = weight + 1;
        while out.len() < whole + scale {
            out.push_str(&format!("{:04}", group(place)?));
            place += 1;
        }
        out.truncate(whole + scale);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(fields: &[u16]) -> Vec<u8> {
        fields.iter().flat_map(|field| field.to_be_bytes()).collect()
    }

    #[test]
    fn text_is_the_servers_own() {
        // Recorded with `select encode(numeric_send('…'), 'hex')`.
        let cases: [(&[u16], &str); 9] = [
            (&[2, 0, 0, 2, 1, 1000], "1.10"),
            (&[0, 0, 0, 0], "0"),
            (&[0, 0, 0, 3], "0.000"),
            (&[1, 0xffff, NEGATIVE, 5, 12], "-0.00120"),
            (&[1, 0xfffe, 0, 5, 1000], "0.00001"),
            (&[1, 1, 0, 0, 1], "10000"),
            (&[3, 1, 0, 1, 1, 2345, 6000], "12345.6"),
            (&[0, 0, NAN, 0], "NaN"),
            (&[0, 0, MINUS_INFINITY, 0x20], "-Infinity"),
        ];
        for (fields, wanted) in cases {
            assert_eq!(text(&numeric(fields)).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn malformed_bytes_are_errors() {
        for fields in [&[1u16, 0, 0, 0][..], &[1, 0, 0, 0, 10_000], &[0, 0, 1, 0], &[0, 0, 0, 0x4000], &[0, 0]] {
            assert!(text(&numeric(fields)).is_err(), "{fields:?}");
        }
    }
}
