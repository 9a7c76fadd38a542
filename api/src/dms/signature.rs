//! Checks signatures of the form Signature Version 4, which AWS clients make from a key's secret.
//!
//! ```text
//!   canonical request = method, path, query, the signed headers, SHA-256 of the body
//!   string to sign    = algorithm, time, scope, SHA-256 of the canonical request
//!   signature         = HMAC(HMAC(HMAC(HMAC(HMAC("AWS4" + secret, date), region), service), "aws4_request"), string to sign)
//! ```
//!
//! Host, time and operation must be signed: without them a signature that somebody overheard would be good for another
//! request. The body's digest is computed here, whatever a header says of it. A request is good for a quarter of an hour.
//! Source: AWS General Reference, "Signature Version 4 signing process".

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use tidegate_catalog::Secret;

use super::fault::Fault;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "dms";
const TERMINATOR: &str = "aws4_request";

/// How far the client's clock may be off. Source: AWS allows as much.
const SKEW_SECONDS_MAX: i64 = 15 * 60;

/// Headers that a signature must cover.
const SIGNED: [&str; 3] = ["host", "x-amz-date", "x-amz-target"];

/// The parts of an `Authorization` header.
#[derive(Debug)]
pub(crate) struct Signature<'a> {
    /// The id of the key.
    pub(crate) access_key: &'a str,
    date: &'a str,
    region: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    /// `YYYYMMDDTHHMMSSZ`.
    time: &'a str,
}

impl<'a> Signature<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// A fault when there is none, or a part of it is missing.
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Self, Fault> {
        let header = text(headers, AUTHORIZATION.as_str()).ok_or_else(Fault::unsigned)?;
        let rest = header.strip_prefix(ALGORITHM).ok_or_else(Fault::unsigned)?;
        let part = |name: &str| {
            let found = rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            found.ok_or_else(|| Fault::incomplete_signature(format!("Authorization header requires '{name}' parameter.")))
        };
        // The key may hold slashes, the four parts after it may not.
        let scope: Vec<&str> = part("Credential")?.rsplitn(5, '/').collect();
        let [TERMINATOR, SERVICE, region, date, access_key] = scope[..] else {
            return Err(Fault::incomplete_signature(format!("Credential should be scoped to service '{SERVICE}' and '{TERMINATOR}'.")));
        };
        let time =
            text(headers, "x-amz-date").ok_or_else(|| Fault::incomplete_signature("The header x-amz-date is missing.".to_owned()))?;
        Ok(Self { access_key, date, region, signed_headers: part("SignedHeaders")?, signature: part("Signature")?, time })
    }

    /// Checks the signature with the key's secret; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// A fault that says which part does not fit, and nothing of the secret.
    pub(crate) fn check(&self, secret: &Secret, uri: &Uri, headers: &HeaderMap, body: &[u8], now: i64) -> Result<(), Fault> {
        let names: Vec<&str> = self.signed_headers.split(';').collect();
        if let Some(missing) = SIGNED.iter().find(|name| !names.contains(name)) {
            return Err(Fault::wrong_signature(format!("The header {missing} must be signed.")));
        }
        let signed_at = seconds_of(self.time).filter(|_| self.time.starts_with(self.date) && self.date.len() == 8);
        let signed_at = signed_at.ok_or_else(|| Fault::wrong_signature("x-amz-date does not fit the credential's date.".to_owned()))?;
        if (now - signed_at).abs() > SKEW_SECONDS_MAX {
            return Err(Fault::wrong_signature(
                "Signature expired or not yet current: the clocks are more than 15 minutes apart.".to_owned(),
            ));
        }
        let mut canonical = format!("POST\n{}\n{}\n", uri.path(), uri.query().unwrap_or(""));
        for name in &names {
            canonical.push_str(&format!("{name}:{}\n", values(headers, name)));
        }
        canonical.push_str(&format!("\n{}\n{}", self.signed_headers, hex(&Sha256::digest(body))));
        let scope = format!("{}/{}/{SERVICE}/{TERMINATOR}", self.date, self.region);
        let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{}", self.time, hex(&Sha256::digest(canonical)));
        let first = format!("AWS4{}", secret.reveal()).into_bytes();
        let key =
            [self.date, self.region, SERVICE, TERMINATOR].iter().fold(first, |key, part| mac(&key, part).finalize().into_bytes().to_vec());
        // Compares in constant time.
        let fits = unhex(self.signature).is_some_and(|given| mac(&key, &to_sign).verify_slice(&given).is_ok());
        let words = "The request signature we calculated does not match the signature you provided.";
        if fits { Ok(()) } else { Err(Fault::wrong_signature(words.to_owned())) }
    }
}

fn mac(key: &[u8], text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is accepted");
    mac.update(text.as_bytes());
    mac
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// All values of a header, with their spaces as the signing process wants them.
fn values(headers: &HeaderMap, name: &str) -> String {
    let trimmed = |value: &str| value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let all: Vec<String> = headers.get_all(name).iter().map(|value| trimmed(&String::from_utf8_lossy(value.as_bytes()))).collect();
    all.join(",")
}

/// Seconds since 1970 of `YYYYMMDDTHHMMSSZ`.
fn seconds_of(time: &str) -> Option<i64> {
    let bytes = time.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = &bytes[from..to];
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years begin in March, so that a leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<Vec<u8>>>()?;
    rest.is_empty().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by botocore 1.44's `SigV4Auth` for this request, secret and time.
    const BODY: &[u8] = b"{}";
    const TIME: &str = "20260301T120000Z";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn signed() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "127.0.0.1:8080"),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "AmazonDMSv20160101.DescribeEndpoints"),
            ("x-amz-date", TIME),
            ("authorization", AUTHORIZATION_MADE),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        headers
    }

    const AUTHORIZATION_MADE: &str = "AWS4-HMAC-SHA256 Credential=TGAKEXAMPLE/20260301/eu-central-1/dms/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=4e55604deaf8edf96895ad3b7061761df05c8bef67bde335b0cb653210c8c41f";

    fn check(headers: &HeaderMap, secret: &str, body: &[u8], now: i64) -> Result<(), &'static str> {
        let signature = Signature::of(headers).map_err(|fault| fault.code())?;
        signature.check(&Secret::new(secret), &Uri::from_static("/"), headers, body, now).map_err(|fault| fault.code())
    }

    #[test]
    fn a_signature_that_botocore_makes_fits_and_any_change_does_not() {
        let now = seconds_of(TIME).unwrap();
        assert_eq!(check(&signed(), SECRET, BODY, now), Ok(()));
        assert_eq!(Signature::of(&signed()).unwrap().access_key, "TGAKEXAMPLE");
        let wrong = Err("InvalidSignatureException");
        assert_eq!(check(&signed(), "another", BODY, now), wrong);
        assert_eq!(check(&signed(), SECRET, b"{ }", now), wrong);
        assert_eq!(check(&signed(), SECRET, BODY, now + 901), wrong);
        assert_eq!(check(&signed(), SECRET, BODY, now - 901), wrong);
        for (name, value) in [
            ("host", "127.0.0.1:8081"),
            ("x-amz-target", "AmazonDMSv20160101.DeleteEndpoint"),
            ("x-amz-date", "20260301T120001Z"),
            ("authorization", &AUTHORIZATION_MADE.replace("eu-central-1", "eu-west-1")),
            ("authorization", &AUTHORIZATION_MADE.replace(";x-amz-target", "")),
            ("authorization", &AUTHORIZATION_MADE.replace("Signature=", "Signature=0")),
            ("authorization", &AUTHORIZATION_MADE.replace("Signature=", "Signature=x")),
        ] {
            let mut headers = signed();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(check(&headers, SECRET, BODY, now), wrong, "{name}: {value}");
        }
    }

    #[test]
    fn headers_without_a_whole_signature_are_told_apart() {
        let mut headers = signed();
        headers.remove("authorization");
        assert_eq!(check(&headers, SECRET, BODY, 0), Err("MissingAuthenticationTokenException"));
        for (header, code) in [
            ("Bearer tgk_a_b", "MissingAuthenticationTokenException"),
            ("AWS4-HMAC-SHA256 Credential=a/b", "IncompleteSignatureException"),
            ("AWS4-HMAC-SHA256 Credential=A/20260301/r/s3/aws4_request, SignedHeaders=host, Signature=0", "IncompleteSignatureException"),
            ("AWS4-HMAC-SHA256 Credential=A/20260301/r/dms/aws4_request, SignedHeaders=host", "IncompleteSignatureException"),
        ] {
            headers.insert("authorization", header.parse().unwrap());
            assert_eq!(check(&headers, SECRET, BODY, 0), Err(code), "{header}");
        }
    }

    #[test]
    fn times_are_read_and_other_texts_are_not() {
        for (text, seconds) in [("19700101T000000Z", 0), ("20000229T235959Z", 951_868_799), ("20260301T120000Z", 1_772_366_400)] {
            assert_eq!(seconds_of(text), Some(seconds), "{text}");
        }
        for text in ["", "20260301", "20261301T120000Z", "20260301T1200-1Z", "2026030éT12000Z", "20260301t120000z"] {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }
}
