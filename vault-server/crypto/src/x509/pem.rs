//! PEM (RFC 7468): blocks of base64 between two lines that say what they are.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_secret::{SecretBytes, SecretString};

use super::X509Error;

/// Characters of base64 in a line.
const LINE_CHARS: usize = 64;

/// A block.
pub struct Block {
    /// What it is: `CERTIFICATE`, for one.
    pub label: String,
    /// Its content, which may be a key.
    pub content: SecretBytes,
}

/// A block that holds no secret.
#[must_use]
pub fn encode(label: &str, content: &[u8]) -> String {
    encode_secret(label, &SecretBytes::copied_from(content)).into_exposed()
}

/// A block that holds a secret: what is made on the way is wiped.
#[must_use]
pub fn encode_secret(label: &str, content: &SecretBytes) -> SecretString {
    let base64 = SecretString::from(STANDARD.encode(content.expose()));
    let lines = base64.len().div_ceil(LINE_CHARS);
    // Never longer than this, so that it is never moved and a part left behind.
    let mut text = SecretBytes::with_capacity(base64.len() + lines + 2 * (label.len() + 20));
    text.append(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in base64.expose().as_bytes().chunks(LINE_CHARS) {
        text.append(line);
        text.append(b"\n");
    }
    text.append(format!("-----END {label}-----\n").as_bytes());
    text.into_text().expect("base64 and labels are text")
}

/// The blocks of a text, `max` at most. What stands between blocks is passed over, as OpenSSL writes explanations there.
///
/// # Errors
/// [`X509Error::Malformed`] where a block does not end, is no base64, or there are too many or none.
pub fn blocks(text: &str, max: usize) -> Result<Vec<Block>, X509Error> {
    let malformed = X509Error::Malformed("PEM");
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else { continue };
        if blocks.len() >= max {
            return Err(malformed);
        }
        let mut base64 = SecretBytes::with_capacity(text.len());
        loop {
            let line = lines.next().ok_or(malformed)?;
            if let Some(end) = line.strip_prefix("-----END ").and_then(|rest| rest.strip_suffix("-----")) {
                if end != label {
                    return Err(malformed);
                }
                break;
            }
            base64.append(line.as_bytes());
        }
        let content = STANDARD.decode(base64.expose()).map(SecretBytes::from).map_err(|_| malformed)?;
        blocks.push(Block { label: label.to_owned(), content });
    }
    if blocks.is_empty() { Err(malformed) } else { Ok(blocks) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_read_as_they_were_written_and_what_is_broken_does_not() {
        for length in [0, 1, 47, 48, 49, 4_000] {
            let content = vec![7_u8; length];
            let text =
                format!("explained\n{}between\r\n{}", encode("A", &content), encode("B C", b"second").replace('\n', "\r\n"));
            let read = blocks(&text, 2).unwrap();
            let labels: Vec<_> = read.iter().map(|block| block.label.as_str()).collect();
            assert_eq!(labels, ["A", "B C"]);
            assert_eq!(read[0].content.expose(), content);
            assert!(blocks(&text, 1).is_err(), "more than may be");
        }
        let good = encode("A", &[1; 100]);
        for bad in [
            "",
            "text",
            good.trim_end_matches("-----END A-----\n"),
            &good.replace("END A", "END B"),
            &good.replacen("AQ", "A!", 1),
        ] {
            assert!(blocks(bad, 9).is_err(), "{bad}");
        }
    }
}
