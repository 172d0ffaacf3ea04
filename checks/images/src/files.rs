//! Files that are known by their path, and what is in them.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{facts::Remark, secrets::is_secret_value};

/// Bytes of such a file that are looked at, at most.
pub const KNOWN_FILE_BYTES_MAX: u64 = 1 << 20;

/// A file whose content is looked at as a whole.
#[derive(Clone, Copy)]
pub(crate) enum Known {
    /// A program logs in with it; with what tells that it is not empty of that.
    Credentials(&'static str, fn(&str) -> bool),
    /// Settings of an application.
    Settings,
    /// `/etc/shadow`.
    Shadow,
}

impl Known {
    /// Which file it is, by path.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let in_folder =
            |wanted: &str| folder == wanted || folder.strip_suffix(wanted).is_some_and(|before| before.ends_with('/'));
        Some(match name {
            ".npmrc" => Self::Credentials("npm's login", |text| assigns(text, &["_authToken", "_auth", "_password"], '=')),
            ".netrc" | "_netrc" => Self::Credentials("a login in .netrc", netrc),
            ".pypirc" => Self::Credentials("PyPI's login", |text| assigns(text, &["password"], '=')),
            ".git-credentials" => Self::Credentials("git's logins", |text| text.contains("://") && text.contains('@')),
            ".dockercfg" => Self::Credentials("Docker's logins", docker),
            "config.json" if in_folder(".docker") => Self::Credentials("Docker's logins", docker),
            "auth.json" if in_folder("containers") => Self::Credentials("logins to registries", docker),
            "credentials" if in_folder(".aws") => {
                Self::Credentials("AWS' credentials", |text| assigns(text, &["aws_secret_access_key"], '='))
            }
            "config" if in_folder(".kube") => {
                Self::Credentials("a kubeconfig with a key", |text| assigns(text, &["client-key-data", "token", "password"], ':'))
            }
            "kubelet.conf" | "admin.conf" if in_folder("kubernetes") => {
                Self::Credentials("a kubeconfig with a key", |text| assigns(text, &["client-key-data", "token", "password"], ':'))
            }
            "application_default_credentials.json" => {
                Self::Credentials("Google's credentials", |text| has_json(text, "refresh_token"))
            }
            ".pgpass" => Self::Credentials("PostgreSQL's logins", |text| lines(text).any(|line| line.split(':').count() >= 5)),
            ".my.cnf" => Self::Credentials("MySQL's login", |text| assigns(text, &["password"], '=')),
            ".vault-token" => Self::Credentials("a token of Vault", |text| text.trim().len() >= 20),
            ".env" => Self::Settings,
            _ if name.starts_with(".env.") && !is_example(name) => Self::Settings,
            "shadow" if folder == "etc" => Self::Shadow,
            _ => return None,
        })
    }
}

fn is_example(name: &str) -> bool {
    ["example", "sample", "template", "dist", "defaults"].iter().any(|word| name.contains(word))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
}

/// Whether one of the names has a value that is no variable and no example.
fn assigns(text: &str, names: &[&str], sign: char) -> bool {
    lines(text).filter_map(|line| line.split_once(sign)).any(|(name, value)| {
        let name = name.trim().rsplit(':').next().unwrap_or_default();
        let value = value.trim().trim_matches(['"', '\'']);
        names.contains(&name) && is_value(value)
    })
}

fn is_value(value: &str) -> bool {
    let is_gap = value.starts_with(['$', '<', '%', '{']) || value.chars().all(|letter| matches!(letter, '*' | 'x' | 'X'));
    value.len() >= 6 && !is_gap && !value.to_ascii_lowercase().contains("example")
}

fn netrc(text: &str) -> bool {
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if word == "password" && words.next().is_some_and(is_value) {
            return true;
        }
    }
    false
}

/// Whether a login is in it: base64 of `user:password`, or a token.
fn docker(text: &str) -> bool {
    let Ok(document) = serde_json::from_str::<serde_json::Value>(text) else { return false };
    let auths = document.get("auths").unwrap_or(&document);
    let is_login = |auth: &serde_json::Value| {
        let text = |name: &str| auth.get(name).and_then(serde_json::Value::as_str);
        let basic = text("auth")
            .and_then(|auth| BASE64_STANDARD.decode(auth).ok())
            .is_some_and(|auth| auth.contains(&b':') && auth.len() >= 3);
        basic || ["password", "identitytoken", "registrytoken"].into_iter().filter_map(text).any(|value| !value.is_empty())
    };
    auths.as_object().is_some_and(|auths| auths.values().any(is_login))
}

fn has_json(text: &str, name: &str) -> bool {
    let document = serde_json::from_str::<serde_json::Value>(text).ok();
    document.is_some_and(|document| document.get(name).and_then(serde_json::Value::as_str).is_some_and(is_value))
}

/// Whether settings have a value that looks secret, under a name that says so.
pub(crate) fn has_secret_settings(text: &str) -> bool {
    lines(text)
        .filter_map(|line| line.trim_start_matches("export ").split_once('='))
        .any(|(name, value)| is_secret_value(name, value))
}

/// Users of `/etc/shadow` who need no password.
pub(crate) fn without_password(text: &str) -> Vec<String> {
    let users = text.lines().map(|line| line.split(':')).filter_map(|mut fields| Some((fields.next()?, fields.next()?)));
    users.filter(|(user, password)| !user.is_empty() && password.is_empty()).map(|(user, _)| user.to_owned()).collect()
}

/// What a path alone tells of a file.
pub(crate) fn remark(path: &str) -> Option<Remark> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_program = matches!(folder, "bin" | "sbin" | "usr/bin" | "usr/sbin" | "usr/local/bin" | "usr/local/sbin");
    Some(match name {
        "HEAD" if folder == ".git" || folder.ends_with("/.git") => Remark::Repository,
        ".bash_history" | ".ash_history" | ".zsh_history" | ".python_history" | ".psql_history" | ".mysql_history"
        | "known_hosts" => Remark::Trace,
        "core" if folder.is_empty() || folder == "tmp" => Remark::Trace,
        "sshd" if is_program => Remark::SshServer,
        "sh" | "bash" | "dash" | "ash" | "zsh" | "busybox" | "apt-get" | "apk" | "yum" | "dnf" | "microdnf" | "zypper"
        | "pip" | "pip3" | "npm" | "gem" | "gcc" | "cc" | "make" | "curl" | "wget" | "nc" | "ncat" | "nmap" | "sudo" | "su"
        | "gdb" | "strace" | "tcpdump"
            if is_program =>
        {
            Remark::Tool
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_login(path: &str, text: &str) -> bool {
        let Some(Known::Credentials(_, holds)) = Known::of(path) else { panic!("{path}") };
        holds(text)
    }

    #[test]
    fn a_login_must_be_in_the_file_and_not_only_its_name() {
        for (path, with, without) in [
            ("root/.npmrc", "//registry/:_authToken=kX93jd82nQw1", "//registry/:_authToken=${NPM_TOKEN}\nsave=true"),
            ("root/.netrc", "machine x login a password kX93jd82nQw1", "machine x login a"),
            ("root/.pypirc", "[pypi]\npassword = kX93jd82nQw1", "[pypi]\n# password = kX93jd82nQw1"),
            ("root/.docker/config.json", r#"{"auths":{"x":{"auth":"dXNlcjpwYXNz"}}}"#, r#"{"auths":{"x":{}},"credsStore":"x"}"#),
            ("root/.dockercfg", r#"{"x":{"auth":"dXNlcjpwYXNz"}}"#, r#"{"x":{"auth":""}}"#),
            ("root/.aws/credentials", "[default]\naws_secret_access_key = kX93jd82nQw1", "[default]\nregion = x"),
            ("root/.kube/config", "users:\n- user:\n    client-key-data: LS0tLS1CRUdJTg==", "users: []\ncurrent-context: x"),
            ("x/application_default_credentials.json", r#"{"refresh_token":"1//kX93jd82nQw1"}"#, r#"{"type":"x"}"#),
            ("root/.pgpass", "db:5432:*:app:kX93jd82", "# db:5432:*:app:kX93jd82"),
            ("root/.my.cnf", "[client]\npassword=kX93jd82", "[client]\nuser=x"),
            ("root/.git-credentials", "https://a:b@github.com", ""),
            ("root/.vault-token", "hvs.CAESIJlWh1xFG7cTn3Kd8nAaaBcD", "x"),
        ] {
            assert!(is_login(path, with), "{path}: {with}");
            assert!(!is_login(path, without), "{path}: {without}");
        }
    }

    #[test]
    fn other_files_of_these_names_are_let_be() {
        for path in
            ["app/config.json", "app/credentials", "app/config", "usr/share/doc/shadow", ".env.example", "app/.env.sample", "env"]
        {
            assert!(Known::of(path).is_none(), "{path}");
        }
    }

    #[test]
    fn users_without_a_password_are_found() {
        assert_eq!(without_password("root::19000:0:::::\nbin:*:1\na:!:1\nb:$6$x:1\n\n::"), ["root"]);
    }

    #[test]
    fn settings_are_secret_by_name_and_value() {
        assert!(has_secret_settings("export DB_PASSWORD='kX93jd82nQw1'\n"));
        assert!(!has_secret_settings("DB_PASSWORD=changeme\nDB_PASSWORD=${X}\nPORT=8080\n# DB_PASSWORD=kX93jd82nQw1\n"));
    }

    #[test]
    fn paths_tell_of_repositories_and_tools() {
        assert_eq!(remark("app/.git/HEAD"), Some(Remark::Repository));
        assert_eq!(remark("usr/bin/bash"), Some(Remark::Tool));
        assert_eq!(remark("app/bash"), None);
        assert_eq!(remark("usr/sbin/sshd"), Some(Remark::SshServer));
    }
}
