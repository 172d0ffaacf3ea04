//! Private keys in PEM's form (RFC 7468, RFC 4880), which are parsed: libraries are full of their headings alone.

use std::ops::Range;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::published::is_published;

/// Bytes of such a key, at most: RSA with 16,384 bits has 13 KiB.
pub(crate) const PEM_BYTES_MAX: usize = 16 << 10;
/// Bytes of a key, at least: an Ed25519 key in PKCS#8 has 48.
const KEY_BYTES_MIN: usize = 40;
const OPENSSH_MAGIC: &[u8] = b"openssh-key-v1\0";
const PGP_CRC_LINE: u8 = b'=';

/// The private key whose heading begins at `at`, if it is one and is, or is not, encrypted.
pub(crate) fn private_key(text: &[u8], at: usize, encrypted: bool) -> Option<Range<usize>> {
    let block = text.get(at..)?;
    let block = block.get(..block.len().min(PEM_BYTES_MAX))?;
    let label_end = memchr::memmem::find(block, b"-----END ")?;
    let heading = block.get(b"-----BEGIN ".len()..label_end)?;
    let label_len = memchr::memmem::find(heading, b"-----")?;
    let label = heading.get(..label_len)?;
    let body = unescaped(heading.get(label_len + b"-----".len()..)?);
    let is_pgp = label == b"PGP PRIVATE KEY BLOCK";
    if !is_pgp && !label.ends_with(b"PRIVATE KEY") {
        return None;
    }
    let is_encrypted = label.starts_with(b"ENCRYPTED") || memchr::memmem::find(&body, b"ENCRYPTED").is_some();
    let der =
        BASE64_STANDARD.decode(base64_of(&body, is_pgp)).ok().filter(|der| der.len() >= KEY_BYTES_MIN && !is_published(der))?;
    let is_encrypted = match label {
        b"OPENSSH PRIVATE KEY" => !is_plain_openssh(&der)?,
        _ if is_pgp => is_encrypted_pgp(&der)?,
        // What is encrypted the old way is not DER any more.
        _ if is_encrypted && !label.starts_with(b"ENCRYPTED") => true,
        _ if is_sequence(&der) => is_encrypted,
        _ => return None,
    };
    (is_encrypted == encrypted).then_some(at..at + label_end)
}

/// The body with real ends of lines: in JSON and in environments they are written `\n`.
fn unescaped(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut bytes = body.iter().peekable();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' {
            match bytes.next() {
                Some(b'n' | b'r') => out.push(b'\n'),
                Some(other) => out.push(*other),
                None => {}
            }
        } else {
            out.push(*byte);
        }
    }
    out
}

/// The characters of the base64, without headers, quotes, indentation and PGP's checksum.
fn base64_of(body: &[u8], is_pgp: bool) -> Vec<u8> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines = lines.filter(|line| !(line.contains(&b':') || is_pgp && line.first() == Some(&PGP_CRC_LINE)));
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    lines.flatten().copied().filter(is_base64).collect()
}

/// Whether it is one SEQUENCE of DER, as long as it says.
fn is_sequence(der: &[u8]) -> bool {
    let Some((0x30, rest)) = der.split_first() else { return false };
    match rest.split_first() {
        Some((short, rest)) if *short < 0x80 => usize::from(*short) == rest.len(),
        Some((long, rest)) => {
            let count = usize::from(*long & 0x7f);
            let Some((length, rest)) = rest.split_at_checked(count).filter(|_| (1..=4).contains(&count)) else { return false };
            length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte)) == rest.len()
        }
        None => false,
    }
}

/// Whether OpenSSH's own format names no cipher; none where it is not that format.
fn is_plain_openssh(der: &[u8]) -> Option<bool> {
    let rest = der.strip_prefix(OPENSSH_MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let cipher = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some(cipher == b"none")
}

/// Whether the secret key packet (tag 5) of version 4 or 6 is protected; none where it is none.
fn is_encrypted_pgp(der: &[u8]) -> Option<bool> {
    let (tag, rest) = der.split_first()?;
    let (packet, body) = match tag {
        0xc0..=0xff => (
            tag & 0x3f,
            rest.get(
                match rest.first()? {
                    0..=191 => 1,
                    192..=223 => 2,
                    _ => 5,
                }..,
            )?,
        ),
        0x80..=0xbf => (tag >> 2 & 0x0f, rest.get([1, 2, 4, 0].get(usize::from(tag & 3)).copied()?..)?),
        _ => return None,
    };
    if packet != 5 || !matches!(body.first()?, 4 | 6) {
        return None;
    }
    // The octet that says how it is protected is behind numbers of any length: a string-to-key specifier has salt, iterations and a cipher.
    Some(memchr::memmem::find(body, &[254, 7]).or_else(|| memchr::memmem::find(body, &[254, 9])).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl genpkey -algorithm ed25519`, for this test alone.
    const PKCS8: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

    fn is_key(text: &str) -> bool {
        private_key(text.as_bytes(), text.find("-----BEGIN").unwrap(), false).is_some()
    }

    #[test]
    fn a_key_is_found_however_its_lines_end() {
        assert!(is_key(PKCS8));
        assert!(is_key(&PKCS8.replace('\n', "\\n")));
        assert!(is_key(&PKCS8.replace('\n', "\r\n")));
        assert!(is_key(&PKCS8.replace('\n', "\n    ")));
        assert!(is_key(&format!("\"key\": \"{}\"", PKCS8.replace('\n', "\\n"))));
    }

    #[test]
    fn headings_and_other_texts_are_no_keys() {
        for text in [
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nnot base64 at all, but long enough to be something like it\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn\n-----END PRIVATE KEY-----",
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\0-----END RSA PRIVATE KEY-----\0-----BEGIN EC PRIVATE KEY-----\0",
        ] {
            assert!(!is_key(text), "{text}");
        }
    }

    #[test]
    fn what_is_encrypted_is_told_apart() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n\
                    aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8=\n-----END RSA PRIVATE KEY-----";
        assert!(private_key(text.as_bytes(), 0, false).is_none());
        assert!(private_key(text.as_bytes(), 0, true).is_some());
        assert!(private_key(PKCS8.as_bytes(), 0, true).is_none());
    }
}
