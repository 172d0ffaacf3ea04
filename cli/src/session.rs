//! The session that a login leaves behind: a file of the user's own, one for each vault.

use std::path::{Path, PathBuf};

use coffer_secret::SecretString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    context::Target,
    exit::Exit,
    failure::{Failure, Result},
    paths::Paths,
    private::{self, Closed},
};

/// The format of the file. A file of another format is no session.
const FORMAT: u32 = 1;

/// Where the key is that the session is bound to.
pub enum Key {
    /// Made for this session and kept with it, as PEM.
    Kept(SecretString),
    /// The user's own, in a file.
    File(PathBuf),
}

/// A session.
pub struct Session {
    /// The token that opens it.
    pub token: SecretString,
    /// The key that it is bound to.
    pub key: Key,
    /// Who it is for, as grants name it.
    pub principal: String,
    /// Its id; no secret.
    pub id: String,
    /// When it ends; none where the vault did not say.
    pub expires: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    address: String,
    tenant: String,
    principal: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    token: Zeroizing<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_pem: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
}

impl Session {
    /// The session for a vault; none where nobody is logged in. One that was made for another address or tenant, by
    /// a context that has changed since, is none.
    ///
    /// # Errors
    /// A file that others can read is refused: its session may be somebody else's by now.
    pub fn read(paths: &Paths, target: &Target) -> Result<Option<Self>> {
        let path = file(paths, target);
        let Some(bytes) = private::read(&path, Closed::ToReaders)? else { return Ok(None) };
        let Ok(stored) = serde_json::from_slice::<Stored>(&bytes) else { return Ok(None) };
        if stored.format != FORMAT || stored.address != target.vault.address.as_str() || stored.tenant != target.tenant() {
            return Ok(None);
        }
        let key = match (&stored.key_pem, stored.key_file) {
            (Some(pem), _) => Key::Kept(SecretString::copied_from(pem)),
            (None, Some(file)) => Key::File(file),
            (None, None) => return Ok(None),
        };
        let token = SecretString::copied_from(&stored.token);
        Ok(Some(Self { token, key, principal: stored.principal, id: stored.id, expires: stored.expires }))
    }

    /// Keeps the session, in place of an older one for the same vault.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, paths: &Paths, target: &Target) -> Result<()> {
        let (key_pem, key_file) = match &self.key {
            Key::Kept(pem) => (Some(Zeroizing::new(pem.expose().to_owned())), None),
            Key::File(file) => (None, Some(file.clone())),
        };
        let stored = Stored {
            format: FORMAT,
            address: target.vault.address.as_str().to_owned(),
            tenant: target.tenant().to_owned(),
            principal: self.principal.clone(),
            id: self.id.clone(),
            expires: self.expires,
            token: Zeroizing::new(self.token.expose().to_owned()),
            key_pem,
            key_file,
        };
        // Room for all of it, so that growing leaves no copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 << 10));
        serde_json::to_writer(&mut *bytes, &stored)
            .map_err(|error| Failure::new(Exit::Failed, format!("the session cannot be written: {error}")))?;
        private::write(&file(paths, target), &bytes)
    }

    /// Forgets the session for a vault; tells whether there was one.
    ///
    /// # Errors
    /// Where the file cannot be removed.
    pub fn remove(paths: &Paths, target: &Target) -> Result<bool> {
        private::remove(&file(paths, target))
    }
}

/// The file of a vault's session: named after the context, or after the address and tenant where there is none.
fn file(paths: &Paths, target: &Target) -> PathBuf {
    let name = match &target.context {
        Some(context) => format!("context-{context}.json"),
        None => format!("address-{}-{}.json", escaped(target.vault.address.as_str()), escaped(target.tenant())),
    };
    // A file's name has at most 255 bytes; the address inside the file is compared in any case.
    Path::new(&paths.sessions).join(if name.len() > 255 { "address-long.json".to_owned() } else { name })
}

/// The text as part of a file's name; two texts never give the same.
fn escaped(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::context::Context;

    fn target(context: Option<&str>, address: &str, tenant: Option<&str>) -> Target {
        let vault = Context { address: address.parse().unwrap(), ca: None, server_name: None, tenant: tenant.map(str::to_owned) };
        Target { context: context.map(str::to_owned), vault }
    }

    fn session() -> Session {
        Session {
            token: SecretString::copied_from("token-1"),
            key: Key::Kept(SecretString::copied_from("-----BEGIN\nkey\n")),
            principal: "operator:alice".into(),
            id: "1".repeat(32),
            expires: Some(Timestamp::from_second(1_800_000_000).unwrap()),
        }
    }

    fn home() -> (tempfile::TempDir, Paths) {
        let home = tempfile::tempdir().unwrap();
        let paths = Paths { config: home.path().join("config.toml"), sessions: home.path().join("run/coffer") };
        (home, paths)
    }

    #[test]
    fn a_session_is_read_back_for_its_vault_alone() {
        let (_home, paths) = home();
        let prod = target(Some("prod"), "https://a:1", None);
        session().write(&paths, &prod).unwrap();
        let read = Session::read(&paths, &prod).unwrap().unwrap();
        assert_eq!((read.token.expose(), read.principal.as_str()), ("token-1", "operator:alice"));
        assert!(matches!(read.key, Key::Kept(pem) if pem.expose() == "-----BEGIN\nkey\n"));
        for other in [
            target(Some("dev"), "https://a:1", None),
            target(Some("prod"), "https://b:1", None),
            target(Some("prod"), "https://a:1", Some("other")),
            target(None, "https://a:1", None),
        ] {
            assert!(Session::read(&paths, &other).unwrap().is_none(), "{other:?}");
        }
        assert!(Session::remove(&paths, &prod).unwrap());
        assert!(Session::read(&paths, &prod).unwrap().is_none());
    }

    #[test]
    fn a_session_that_others_can_read_is_refused() {
        let (_home, paths) = home();
        let prod = target(Some("prod"), "https://a:1", None);
        session().write(&paths, &prod).unwrap();
        let path = file(&paths, &prod);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let failure = Session::read(&paths, &prod).err().unwrap();
        assert!(failure.what.starts_with("others than you can read "), "{failure:?}");
    }

    #[test]
    fn addresses_have_files_of_their_own() {
        let (_home, paths) = home();
        let mut seen = std::collections::HashSet::new();
        for (address, tenant) in [
            ("https://a:1", None),
            ("https://a:11", None),
            ("https://a:1", Some("b")),
            ("unix:///a/b", None),
            ("unix:///a%2fb", None),
        ] {
            assert!(seen.insert(file(&paths, &target(None, address, tenant))), "{address}");
        }
        assert!(seen.iter().all(|path| path.parent() == Some(&paths.sessions)));
    }

    #[test]
    fn a_damaged_file_is_no_session() {
        let (_home, paths) = home();
        let prod = target(Some("prod"), "https://a:1", None);
        session().write(&paths, &prod).unwrap();
        private::write(&file(&paths, &prod), b"{").unwrap();
        assert!(Session::read(&paths, &prod).unwrap().is_none());
    }
}
