//! The forms in which a secret could lie about.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// A secret that is longer is searched for in pieces: a part of it is a leak as well.
const WHOLE_BYTES_MAX: usize = 64;
/// Bytes of such a piece.
const PIECE_BYTES: usize = 32;

/// The bytes that are searched for: the secret, or its middle and its end. Tokens begin alike, with what is no secret.
fn pieces(secret: &[u8]) -> Vec<&[u8]> {
    if secret.len() <= WHOLE_BYTES_MAX {
        return vec![secret];
    }
    let middle = secret.get(secret.len() / 2..).unwrap_or_default();
    let end = secret.get(secret.len() - PIECE_BYTES..).unwrap_or_default();
    vec![middle.get(..PIECE_BYTES).unwrap_or_default(), end]
}

/// As it is; in hexadecimal; as a list of bytes as `Debug` prints one; in base64 at any position; percent-encoded.
pub(super) fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    pieces(secret).into_iter().flat_map(forms_of_piece).collect()
}

fn forms_of_piece(piece: &[u8]) -> Vec<Vec<u8>> {
    let joined = |form: fn(&u8) -> String, between: &str| piece.iter().map(form).collect::<Vec<_>>().join(between).into_bytes();
    let mut forms = vec![
        piece.to_vec(),
        joined(|byte| format!("{byte:02x}"), ""),
        joined(|byte| format!("{byte:02X}"), ""),
        joined(u8::to_string, ", "),
        joined(u8::to_string, ","),
        joined(|byte| format!("%{byte:02x}"), ""),
        joined(|byte| format!("%{byte:02X}"), ""),
        percent_where_needed(piece),
    ];
    for skip in 0..3 {
        // Whole groups of three bytes look the same whatever is around them.
        let groups = piece.get(skip..).unwrap_or_default();
        let whole = groups.get(..groups.len() / 3 * 3).unwrap_or_default();
        forms.push(STANDARD_NO_PAD.encode(whole).into_bytes());
        forms.push(URL_SAFE_NO_PAD.encode(whole).into_bytes());
    }
    forms.sort();
    forms.dedup();
    forms
}

/// As in a URL: letters, digits and `-._~` stay.
fn percent_where_needed(piece: &[u8]) -> Vec<u8> {
    let mut text = String::new();
    for byte in piece {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_secret_is_looked_for_in_pieces_and_a_short_one_as_a_whole() {
        assert_eq!(pieces(&[7; 64]), [&[7; 64][..]]);
        let long: Vec<u8> = (0..=200).collect();
        assert_eq!(pieces(&long), [&long[100..132], &long[169..]]);
    }

    #[test]
    fn every_encoding_is_among_the_forms() {
        let (secret, forms) = (b"with spaces, and/or+ more", forms(b"with spaces, and/or+ more"));
        let has = |text: &str| forms.iter().any(|form| text.as_bytes().windows(form.len()).any(|window| window == form));
        assert!(has("with spaces, and/or+ more"));
        assert!(has("with%20spaces%2C%20and%2For%2B%20more"));
        assert!(has(&format!("{secret:?}")));
        for before in ["", "1", "12", "123"] {
            let text = [before.as_bytes(), secret, b"behind"].concat();
            assert!(has(&STANDARD_NO_PAD.encode(&text)) && has(&URL_SAFE_NO_PAD.encode(&text)), "{before}");
            assert!(has(&text.iter().map(|byte| format!("{byte:02X}")).collect::<String>()));
        }
    }
}
