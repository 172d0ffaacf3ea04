//! What a path of an engine's configuration names.

use coffer_core::{path::Path, principal::Name, reason::Reason};
use coffer_vault::Failure;

use super::convert;

/// A path `MOUNT/KIND/NAME`.
pub(super) struct Place {
    /// The whole path: what policy decides about.
    pub(super) path: Path,
    /// The name.
    pub(super) name: Name,
}

impl Place {
    /// The path of something of this kind.
    pub(super) fn parse(text: &str, kind: &str) -> Result<Self, Failure> {
        let path: Path = text.parse()?;
        let name = {
            let mut below = path.below_mount();
            match (below.next(), below.next(), below.next()) {
                (Some(found), Some(name), None) if found == kind => convert::name(name)?,
                _ => return Err(Failure::told(Reason::PathInvalid, format!("the path is MOUNT/{kind}/NAME"))),
            }
        };
        Ok(Self { path, name })
    }
}

/// A path `MOUNT/KIND`.
pub(super) fn whole(text: &str, kind: &str) -> Result<Path, Failure> {
    let path: Path = text.parse()?;
    if path.below_mount().eq([kind]) {
        Ok(path)
    } else {
        Err(Failure::told(Reason::PathInvalid, format!("the path is MOUNT/{kind}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_of_a_thing_names_it() {
        let place = Place::parse("pki/roles/web", "roles").unwrap();
        assert_eq!((place.path.as_str(), place.name.as_str()), ("pki/roles/web", "web"));
        for wrong in
            ["pki", "pki/roles", "pki/role/web", "pki/roles/web/x", "pki/roles/", "roles/web", "pki/roles/Web", "pki//web"]
        {
            assert!(Place::parse(wrong, "roles").is_err(), "{wrong}");
        }
        assert!(whole("pki/roles", "roles").is_ok());
        for wrong in ["pki", "pki/roles/web", "pki/config"] {
            assert!(whole(wrong, "roles").is_err(), "{wrong}");
        }
    }
}
