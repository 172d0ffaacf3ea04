//! `coffer operator ca`: what clients must believe, from where there is no `cat`.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
};

/// Bytes in the file, at most: what clients read of a CA file.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Show the CA certificates that clients of this server need
///
/// For the server's own machine or container, whose image has no other program that shows a file. Only certificates are
/// shown, whatever else the file has.
#[derive(Args)]
#[command(after_help = "\
Examples:
  kubectl -n coffer exec coffer-0 -- coffer operator ca > ca.pem")]
pub(crate) struct Ca {
    /// The file: ca.pem in the folder that the server's configuration calls directory in [tls]
    #[arg(value_name = "FILE", default_value = "/var/lib/coffer/tls/ca.pem")]
    file: PathBuf,
}

#[derive(Serialize)]
struct Json<'a> {
    certificates: &'a str,
}

impl Ca {
    pub(super) fn run(self, app: &App) -> Result<Exit> {
        let text = certificates(&self.file)?;
        app.out.result(&Json { certificates: &text }, |_| text.clone())?;
        Ok(Exit::Done)
    }
}

/// The certificates in a file, PEM.
fn certificates(path: &Path) -> Result<String> {
    let mut text = String::new();
    // What counts is what is read: a device says that it has no bytes, and gives them without end.
    let read = File::open(path).and_then(|file| file.take(CA_FILE_BYTES_MAX + 1).read_to_string(&mut text));
    let read = read.map_err(|error| {
        Failure::file("read", path, &error).next("name the file ca.pem in the folder that the server calls directory in [tls]")
    })?;
    if u64::try_from(read).unwrap_or(u64::MAX) > CA_FILE_BYTES_MAX {
        return Err(Failure::usage(format!("{} has more than {CA_FILE_BYTES_MAX} bytes", path.display())));
    }
    let mut certificates = String::new();
    for part in text.split(BEGIN).skip(1) {
        let Some((body, _)) = part.split_once(END) else {
            return Err(Failure::usage(format!("{} ends within a certificate", path.display())));
        };
        certificates.extend([BEGIN, body, END, "\n"]);
    }
    if certificates.is_empty() {
        return Err(Failure::usage(format!("{} has no certificate in it (BEGIN CERTIFICATE)", path.display())));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, text).unwrap();
        certificates(&file)
    }

    #[test]
    fn certificates_are_shown_and_nothing_else_that_a_file_has() {
        let one = format!("{BEGIN}\nMIIB\n{END}\n");
        let key = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";
        assert_eq!(of(&format!("{key}{one}{key}{one}{key}")).unwrap(), format!("{one}{one}"));
        let refused = of(key).unwrap_err();
        assert!(refused.what.contains("no certificate") && !format!("{refused:?}").contains("hunter2"), "{refused:?}");
        assert!(of(&format!("{one}{BEGIN}\nMIIB")).unwrap_err().what.contains("ends within a certificate"));
    }

    #[test]
    fn a_file_of_the_largest_size_is_read_and_none_beyond_it() {
        let one = format!("{BEGIN}\nMIIB\n{END}\n");
        let mut text = " ".repeat(usize::try_from(CA_FILE_BYTES_MAX).unwrap() - one.len()) + &one;
        assert_eq!(of(&text).unwrap(), one);
        text.insert(0, ' ');
        assert!(of(&text).unwrap_err().what.contains("more than"));
        assert!(certificates(Path::new("/dev/zero")).unwrap_err().what.contains("more than"), "without an end");
        assert!(certificates(Path::new("/none/ca.pem")).unwrap_err().what.contains("/none/ca.pem"));
    }
}
