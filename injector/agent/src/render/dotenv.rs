//! A secret as `NAME=VALUE` lines that a POSIX shell reads with `. FILE`, whatever the values hold.
//!
//! A value of harmless characters stands as it is. Others are quoted the way that shells and the libraries that read
//! such files agree on where they do: in single quotes; in double quotes where the value has a single quote and
//! nothing that double quotes would change; else as the shell alone reads it, with every single quote as `'\''`.

use coffer_client::Secret;
use coffer_secret::SecretBytes;

use super::{RenderError, text};

pub(super) fn render(path: &str, secret: &Secret) -> Result<SecretBytes, RenderError> {
    let mut out = SecretBytes::with_capacity(256);
    for (field, value) in &secret.fields {
        if !is_variable(field) {
            return Err(RenderError::NotVariable { path: path.to_owned(), field: field.clone() });
        }
        let value = text(path, field, value)?;
        if value.contains('\0') {
            return Err(RenderError::ZeroByte { path: path.to_owned(), field: field.clone() });
        }
        out.append(field.as_bytes());
        out.append(b"=");
        quote(&mut out, value);
        out.append(b"\n");
    }
    Ok(out)
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn quote(out: &mut SecretBytes, value: &str) {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&byte);
    if !value.is_empty() && value.bytes().all(harmless) {
        out.append(value.as_bytes());
        return;
    }
    let quotes = value.contains('\'');
    let mark: &[u8] = if quotes && !value.contains(['"', '$', '`', '\\', '\n', '\r', '!']) { b"\"" } else { b"'" };
    out.append(mark);
    if mark == b"'" {
        for (index, part) in value.split('\'').enumerate() {
            if index > 0 {
                out.append(b"'\\''");
            }
            out.append(part.as_bytes());
        }
    } else {
        out.append(value.as_bytes());
    }
    out.append(mark);
}
