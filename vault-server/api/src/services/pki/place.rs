//! What a path of the pki engine names.

use coffer_core::{path::Path, reason::Reason};
use coffer_vault::{Failure, certificates::Serial};

pub(super) use crate::services::place::{Place, whole};

/// A path `MOUNT/certificates/NUMBER`.
pub(super) struct Numbered {
    /// The whole path.
    pub(super) path: Path,
    /// The number.
    pub(super) serial: Serial,
}

impl Numbered {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let path: Path = text.parse()?;
        let serial: Option<Serial> = path.segments().next_back().and_then(|number| number.parse().ok());
        // One spelling alone: what policy decides about is what is done.
        let serial = serial.filter(|serial| path.below_mount().eq(["certificates", serial.to_string().as_str()]));
        let refused =
            "the path is MOUNT/certificates/NUMBER: 40 lower-case hexadecimal digits, as certificates made here have them";
        Ok(Self { serial: serial.ok_or_else(|| Failure::new(Reason::PathInvalid, refused))?, path })
    }
}
