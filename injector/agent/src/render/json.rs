//! A secret as one JSON object of strings, sorted by name.

use std::io;

use coffer_client::Secret;
use coffer_secret::SecretBytes;

use super::{RenderError, text};

pub(super) fn render(path: &str, secret: &Secret) -> Result<SecretBytes, RenderError> {
    let mut out = Growing(SecretBytes::with_capacity(256));
    out.0.append(b"{");
    for (index, (field, value)) in secret.fields.iter().enumerate() {
        if index > 0 {
            out.0.append(b",");
        }
        let value = text(path, field, value)?;
        for (part, end) in [(field.as_str(), ":"), (value, "")] {
            serde_json::to_writer(&mut out, part).map_err(|_| RenderError::TooLarge)?;
            out.0.append(end.as_bytes());
        }
    }
    out.0.append(b"}");
    Ok(out.0)
}

/// A writer that leaves no copies behind when it grows.
struct Growing(SecretBytes);

impl io::Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
