//! The files that a program is to have.

use std::ffi::OsString;

use coffer_client::Secret;
use coffer_secret::SecretBytes;

use super::FILES_MAX;
use crate::{
    document::{Form, written},
    failure::{Failure, Result},
};

/// Bytes in a file's name, at most.
const NAME_BYTES_MAX: usize = 255;

/// A file that is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) path: String,
    field: Option<String>,
    /// Whether it is of a credential that is made for the program, rather than of a secret.
    pub(super) is_credential: bool,
}

/// The files asked for, each name once.
pub(super) fn wanted(files: &[String], credentials: &[String]) -> Result<Vec<Wanted>> {
    let count = files.len() + credentials.len();
    if count > FILES_MAX {
        return Err(Failure::usage(format!("{count} files; at most {FILES_MAX}")));
    }
    if count == 0 {
        return Err(Failure::usage("no file is asked for").next("write --file NAME=PATH, or --credential NAME=MOUNT/creds/ROLE"));
    }
    let mut all: Vec<Wanted> = Vec::with_capacity(count);
    let files = files.iter().map(|text| (text, false)).chain(credentials.iter().map(|text| (text, true)));
    for (text, is_credential) in files {
        let wrong = || {
            let (what, next) = match is_credential {
                false => ("secret", "write --file NAME=PATH or --file NAME=PATH#FIELD"),
                true => ("credential", "write --credential NAME=MOUNT/creds/ROLE or --credential NAME=MOUNT/creds/ROLE#FIELD"),
            };
            Failure::usage(format!("'{text}' names no file and {what}")).next(next)
        };
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (path, field) = match rest.rsplit_once('#') {
            Some((path, "")) => (path, None),
            Some((path, field)) => (path, Some(field.to_owned())),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(wrong());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.chars().all(plain) {
            return Err(Failure::usage(format!("'{name}' is no name for a file"))
                .why(format!("a name is 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . - _ and does not begin with a dot")));
        }
        if all.iter().any(|known| known.name == name) {
            return Err(Failure::usage(format!("the file {name} is given twice")));
        }
        if all.iter().any(|known| known.path == path && known.is_credential != is_credential) {
            return Err(Failure::usage(format!("{path} is given as a secret and as a credential")));
        }
        all.push(Wanted { name: name.to_owned(), path: path.to_owned(), field, is_credential });
    }
    Ok(all)
}

/// What a file holds.
pub(super) fn content(file: &Wanted, secret: &Secret) -> Result<SecretBytes> {
    match &file.field {
        Some(field) => match secret.field(field) {
            Some(value) => Ok(value.duplicate()),
            None => Err(super::super::kv::no_field(&file.path, field, secret)),
        },
        None => {
            let fields: Vec<_> = secret.fields.iter().map(|(name, value)| (name.clone(), value.duplicate())).collect();
            let text = written(&fields, Form::Json, "")?;
            Ok(SecretBytes::copied_from(text.expose().as_bytes()))
        }
    }
}

/// The argument with `{NAME}` replaced, for each name of a file. Other braces stay as they are.
pub(super) fn filled(argument: &OsString, wanted: &[Wanted], folder: &str) -> OsString {
    let Some(text) = argument.to_str() else { return argument.clone() };
    let mut text = text.to_owned();
    for file in wanted {
        text = text.replace(&format!("{{{}}}", file.name), &format!("{folder}/{}", file.name));
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_name_a_secret_and_perhaps_a_field() {
        let one = |text: &str| wanted(&[text.to_owned()], &[]).map(|mut all| all.remove(0));
        let file = |name: &str, path: &str, field: Option<&str>| Wanted {
            name: name.into(),
            path: path.into(),
            field: field.map(str::to_owned),
            is_credential: false,
        };
        assert_eq!(one("db=kv/prod/db#password").unwrap(), file("db", "kv/prod/db", Some("password")));
        assert_eq!(one("db.json=kv/prod/db").unwrap(), file("db.json", "kv/prod/db", None));
        assert_eq!(one("a=kv/x#y#").unwrap(), file("a", "kv/x#y", None));
        for bad in ["kv/prod/db", "=kv/x", "../a=kv/x", "a/b=kv/x", ".lock=kv/x", "a=", "a=#f", "a b=kv/x"] {
            assert!(one(bad).is_err(), "{bad}");
        }
        assert!(wanted(&["a=kv/x".into(), "a=kv/y".into()], &[]).is_err());
        assert!(wanted(&["a=kv/x".into()], &["a=db/creds/y".into()]).is_err());
        assert!(wanted(&["a=kv/x".into()], &["b=kv/x".into()]).is_err(), "a path is of one or the other");
        assert!(wanted(&[], &[]).is_err());
        let both = wanted(&["a=kv/x".into()], &["b=db/creds/y#password".into()]).unwrap();
        assert!(!both[0].is_credential && both[1].is_credential && both[1].field.as_deref() == Some("password"));
        let many = |count: usize| (1..count).map(|number| format!("f{number}=kv/x")).collect::<Vec<_>>();
        let one = ["c=db/creds/x".to_owned()];
        assert!(wanted(&many(FILES_MAX), &one).is_ok() && wanted(&many(FILES_MAX + 1), &one).is_err());
    }

    #[test]
    fn braces_stand_for_files_that_are_named_and_for_nothing_else() {
        let files = wanted(&["db=kv/x".into(), "a.json=kv/y".into()], &[]).unwrap();
        let fill = |text: &str| filled(&OsString::from(text), &files, "/m");
        assert_eq!(fill("file={db},{a.json}"), "file=/m/db,/m/a.json");
        assert_eq!(fill(r#"{"db": {}, "x": {c}}"#), r#"{"db": {}, "x": {c}}"#);
    }
}
