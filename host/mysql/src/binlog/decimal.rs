//! DECIMAL in its stored form: groups of nine digits in big-endian integers, the sign folded into the first bit.

use super::bytes::{Fault, Reader};

/// Bytes that hold so many digits (`dig2bytes` in the server's decimal.c).
const DIGIT_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// Digits of a decimal, and those behind its point: MySQL has at most 30, MariaDB 38. Source: MariaDB's manual, "DECIMAL". A decimal has
/// 65 digits at most; within a document of JSON the whole ones count as full groups of nine (seen with MySQL 9.7).
const DIGITS_MAX: u8 = 73;
const SCALE_MAX: u8 = 38;

/// Reads a decimal and gives the text that the server itself prints.
pub(crate) fn decimal_text(reader: &mut Reader<'_>, precision: u8, scale: u8) -> Result<String, Fault> {
    if precision == 0 || precision > DIGITS_MAX || scale > SCALE_MAX || scale > precision {
        return Err(reader.fault());
    }
    let (whole, part) = (usize::from(precision - scale), usize::from(scale));
    let size = whole / 9 * 4 + DIGIT_BYTES[whole % 9] + part / 9 * 4 + DIGIT_BYTES[part % 9];
    let mut bytes = reader.take(size)?.to_vec();
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 == 0);
    if let Some(first) = bytes.first_mut() {
        *first ^= 0x80;
    }
    if negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let mut groups = Reader::new(&bytes, "decimal");
    let mut digits = String::with_capacity(usize::from(precision) + 3);
    push_group(&mut groups, &mut digits, whole % 9)?;
    for _ in 0..whole / 9 {
        push_group(&mut groups, &mut digits, 9)?;
    }
    let mut text = if negative { String::from("-") } else { String::new() };
    let kept = digits.trim_start_matches('0');
    text.push_str(if kept.is_empty() { "0" } else { kept });
    if part > 0 {
        let mut fraction = String::with_capacity(part);
        for _ in 0..part / 9 {
            push_group(&mut groups, &mut fraction, 9)?;
        }
        push_group(&mut groups, &mut fraction, part % 9)?;
        text.push('.');
        text.push_str(&fraction);
    }
    Ok(text)
}

fn push_group(groups: &mut Reader<'_>, digits: &mut String, count: usize) -> Result<(), Fault> {
    if count == 0 {
        return Ok(());
    }
    let number = groups.uint_be(DIGIT_BYTES[count])?;
    if number >= 10_u64.pow(count as u32) {
        return Err(groups.fault());
    }
    digits.push_str(&format!("{number:0count$}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_print_as_the_server_prints_them() {
        // The first is the manual's example: 1234567890.1234 in DECIMAL(14,4).
        let cases: [(&[u8], u8, u8, &str); 5] = [
            (&[0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2], 14, 4, "1234567890.1234"),
            (&[0x7E, 0xF2, 0x04, 0xC7, 0x2D, 0xFB, 0x2D], 14, 4, "-1234567890.1234"),
            (&[0x80, 0x00, 0x00], 5, 2, "0.00"),
            (&[0x7f, 0xff, 0xcd], 5, 2, "-0.50"),
            // Of MariaDB alone.
            (&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x07], 38, 38, "0.00000000000000000000000000000000000007"),
        ];
        for (bytes, precision, scale, text) in cases {
            assert_eq!(decimal_text(&mut Reader::new(bytes, "decimal"), precision, scale).as_deref(), Ok(text));
        }
        assert!(decimal_text(&mut Reader::new(&[0xff; 9], "decimal"), 14, 4).is_err());
        assert!(decimal_text(&mut Reader::new(&[0x80; 40], "decimal"), 65, 39).is_err());
        assert!(decimal_text(&mut Reader::new(&[0x80; 40], "decimal"), 74, 1).is_err());
    }
}
