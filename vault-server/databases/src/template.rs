//! Statements as operators write them: SQL with `{{name}}`, `{{password}}`, `{{password_hash}}` and `{{expiration}}`.
//!
//! No hostile name gets out of its quotes, for none has a character that means anything to a database: names have a-z, 0-9
//! and `_`; passwords letters and digits; what is put in for a password where the database takes a verifier has
//! `[A-Za-z0-9+/=$:-]`, and for a hash `[A-F0-9*]`. What is not so is refused here, whatever it was before.

use coffer_secret::SecretString;

use crate::{
    Kind,
    error::{DatabaseError, Fault},
    redis,
};

/// Statements of a role for one purpose.
pub const STATEMENTS_MAX: usize = 32;
/// Bytes in a statement.
pub const STATEMENT_BYTES_MAX: usize = 8_192;

/// Why a role's statements cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There are too many.
    #[error("there are more than {STATEMENTS_MAX} statements")]
    TooMany,
    /// One is empty, or too long.
    #[error("statement {0} is empty, or longer than {STATEMENT_BYTES_MAX} bytes")]
    Length(usize),
    /// One has a placeholder that there is not.
    #[error("statement {0} has a placeholder that is none of {1}")]
    Placeholder(usize, &'static str),
    /// None names the user.
    #[error("no statement has {{{{name}}}}: every caller would get the same user")]
    NoName,
    /// None has the password.
    #[error("no statement has {{{{password}}}} (or {{{{password_hash}}}}, which MySQL knows)")]
    NoPassword,
    /// There is no rule of what a user of Redis may do.
    #[error("there is no rule: a user of Redis could do nothing")]
    NoRule,
    /// A rule is not a role's to say.
    #[error(
        "statement {0} has a rule that is not a role's to say: on, off, reset, nopass, resetpass, or one that begins with > < # !"
    )]
    Rule(usize),
    /// Redis has no statements that end a user.
    #[error("there are no statements that end a user of Redis: it is switched off, its connections are closed, it is deleted")]
    Revocation,
}

/// What is put into statements.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) name: &'a str,
    pub(crate) password: &'a str,
    pub(crate) password_hash: &'a str,
    pub(crate) expiration: &'a str,
}

impl<'a> Values<'a> {
    /// A name, and nothing else.
    pub(crate) const fn of(name: &'a str) -> Self {
        Self { name, password: "", password_hash: "", expiration: "" }
    }
}

/// What a kind's statements that make a user may have.
const fn placeholders(kind: Kind) -> (&'static [&'static str], &'static str) {
    match kind {
        Kind::Postgres => {
            (&["name", "username", "password", "expiration"], "{{name}}, {{username}}, {{password}}, {{expiration}}")
        }
        Kind::MySql => (
            &["name", "username", "password", "password_hash", "expiration"],
            "{{name}}, {{username}}, {{password}}, {{password_hash}}, {{expiration}}",
        ),
        Kind::Redis => NAMES,
    }
}

/// What statements may have that end a user, and the rules of Redis.
const NAMES: (&[&str], &str) = (&["name", "username"], "{{name}}, {{username}}");

/// Checks statements: with `makes_user`, those that make one, which must name it and its password.
pub fn check_templates(kind: Kind, statements: &[String], makes_user: bool) -> Result<(), TemplateError> {
    if statements.len() > STATEMENTS_MAX {
        return Err(TemplateError::TooMany);
    }
    let (known, told) = if makes_user { placeholders(kind) } else { NAMES };
    let (mut name, mut password) = (false, false);
    for (number, statement) in (1..).zip(statements) {
        if statement.trim().is_empty() || statement.len() > STATEMENT_BYTES_MAX {
            return Err(TemplateError::Length(number));
        }
        for piece in pieces(statement) {
            let Piece::Placeholder(placeholder) = piece else { continue };
            if !known.contains(&placeholder) {
                return Err(TemplateError::Placeholder(number, told));
            }
            name |= NAMES.0.contains(&placeholder);
            password |= placeholder.starts_with("password");
        }
    }
    match (kind, makes_user) {
        (Kind::Redis, true) => redis::check_rules(statements),
        (Kind::Redis, false) if !statements.is_empty() => Err(TemplateError::Revocation),
        (Kind::Postgres | Kind::MySql, true) if !name => Err(TemplateError::NoName),
        (Kind::Postgres | Kind::MySql, true) if !password => Err(TemplateError::NoPassword),
        _ => Ok(()),
    }
}

/// A moment as databases write it, in UTC: `2026-11-28 10:00:00`.
pub(crate) fn moment(secs: u64) -> Result<String, DatabaseError> {
    let moment = i64::try_from(secs).ok().and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    let moment = moment.ok_or_else(|| DatabaseError::new(Fault::Statement, "a time that cannot be written"))?;
    Ok(moment.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// Statements with values in place of their placeholders.
pub(crate) fn render_all(statements: &[String], values: &Values<'_>) -> Result<Vec<SecretString>, DatabaseError> {
    statements.iter().map(|statement| render(statement, values)).collect()
}

/// A statement with values in place of its placeholders.
fn render(statement: &str, values: &Values<'_>) -> Result<SecretString, DatabaseError> {
    let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let password = |c: char| c.is_ascii_alphanumeric() || "+/=$:-".contains(c);
    let hash = |c: char| c.is_ascii_hexdigit() || c == '*';
    let expiration = |c: char| c.is_ascii_digit() || "-: +TZ".contains(c);
    let strange = |what: &str| DatabaseError::new(Fault::Statement, format!("a {what} with characters that it cannot have"));
    if values.name.is_empty() || !values.name.chars().all(name) {
        return Err(strange("name"));
    }
    if !values.password.chars().all(password) || !values.password_hash.chars().all(hash) {
        return Err(strange("password"));
    }
    if !values.expiration.chars().all(expiration) {
        return Err(strange("time"));
    }
    let mut text = String::with_capacity(statement.len() + 256);
    for piece in pieces(statement) {
        text.push_str(match piece {
            Piece::Text(piece) => piece,
            Piece::Placeholder("name" | "username") => values.name,
            Piece::Placeholder("password") => values.password,
            Piece::Placeholder("password_hash") => values.password_hash,
            Piece::Placeholder("expiration") => values.expiration,
            Piece::Placeholder(_) => return Err(strange("placeholder")),
        });
    }
    Ok(SecretString::from(text))
}

enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

fn pieces(statement: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = statement;
    let mut pieces = Vec::new();
    while let Some((before, behind)) = rest.split_once("{{") {
        pieces.push(Piece::Text(before));
        // Braces that are not closed are a placeholder of no name.
        let (name, behind) = behind.split_once("}}").unwrap_or(("", ""));
        pieces.push(Piece::Placeholder(name.trim()));
        rest = behind;
    }
    pieces.push(Piece::Text(rest));
    pieces.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(statements: &[&str]) -> Vec<String> {
        statements.iter().map(|&statement| statement.to_owned()).collect()
    }

    const VALUES: Values<'static> = Values {
        name: "cf_app_1",
        password: "SCRAM-SHA-256$1:a+/=",
        password_hash: "*0AF",
        expiration: "2026-11-28 10:00:00+00",
    };

    #[test]
    fn placeholders_become_values_wherever_they_stand() {
        let statement =
            r#"CREATE ROLE "{{name}}" LOGIN PASSWORD '{{ password }}' VALID UNTIL '{{expiration}}'; GRANT r TO {{username}}"#;
        assert_eq!(
            render(statement, &VALUES).unwrap().expose(),
            r#"CREATE ROLE "cf_app_1" LOGIN PASSWORD 'SCRAM-SHA-256$1:a+/=' VALID UNTIL '2026-11-28 10:00:00+00'; GRANT r TO cf_app_1"#
        );
        assert_eq!(render("BY PASSWORD '{{password_hash}}'", &VALUES).unwrap().expose(), "BY PASSWORD '*0AF'");
    }

    #[test]
    fn nothing_is_put_in_that_could_end_a_quotation() {
        for hostile in ["", "a\"; DROP TABLE t; --", "a'b", "a`b", "a\\", "A", "a b", "a-b", "ä", "a\0", "a\n", "{{password}}"] {
            assert!(render("{{name}}", &Values { name: hostile, ..VALUES }).is_err(), "{hostile}");
        }
        for hostile in ["a'b", "a\"b", "a\\b", "a`b", "a;b", "a b", "ä", "a\0"] {
            assert!(render("{{password}}", &Values { password: hostile, ..VALUES }).is_err(), "{hostile}");
            assert!(render("{{expiration}}", &Values { expiration: hostile, ..VALUES }).is_err(), "{hostile}");
            assert!(render("{{password_hash}}", &Values { password_hash: hostile, ..VALUES }).is_err(), "{hostile}");
        }
    }

    #[test]
    fn statements_that_could_not_work_are_refused_with_their_number() {
        let check = |statements: &[&str]| check_templates(Kind::Postgres, &owned(statements), true);
        let is_placeholder = |checked, at| matches!(checked, Err(TemplateError::Placeholder(number, _)) if number == at);
        assert_eq!(check(&["CREATE ROLE {{name}} PASSWORD '{{password}}'"]), Ok(()));
        assert_eq!(check(&[]), Err(TemplateError::NoName));
        assert_eq!(check(&["CREATE ROLE app PASSWORD '{{password}}'"]), Err(TemplateError::NoName));
        assert_eq!(check(&["CREATE ROLE {{name}}"]), Err(TemplateError::NoPassword));
        assert_eq!(check(&["SELECT 1", " "]), Err(TemplateError::Length(2)));
        assert!(is_placeholder(check(&["SELECT {{user}}"]), 1));
        assert!(is_placeholder(check(&["SELECT {{password_hash}}"]), 1), "PostgreSQL has a verifier");
        assert!(is_placeholder(check(&["SELECT 1", "SELECT {{name"]), 2));
        let ends = |kind, statement| check_templates(kind, &owned(&[statement]), false);
        assert_eq!(ends(Kind::Postgres, "DROP ROLE {{name}}"), Ok(()));
        assert_eq!(ends(Kind::MySql, "DROP USER '{{name}}'@'%'"), Ok(()));
        assert!(is_placeholder(ends(Kind::Postgres, "SELECT '{{password}}'"), 1));
        assert!(is_placeholder(ends(Kind::MySql, "SELECT '{{password_hash}}'"), 1));
        let many = |count: usize| vec!["SELECT '{{name}}'".to_owned(); count];
        assert_eq!(check_templates(Kind::Postgres, &many(STATEMENTS_MAX), false), Ok(()));
        assert_eq!(check_templates(Kind::Postgres, &many(STATEMENTS_MAX + 1), false), Err(TemplateError::TooMany));
        let long = |bytes: usize| vec![format!("{:<bytes$}", "x")];
        assert_eq!(check_templates(Kind::Postgres, &long(STATEMENT_BYTES_MAX), false), Ok(()));
        assert_eq!(check_templates(Kind::Postgres, &long(STATEMENT_BYTES_MAX + 1), false), Err(TemplateError::Length(1)));
    }

    #[test]
    fn a_user_of_mysql_is_made_with_its_password_or_the_hash_of_it() {
        let check = |statement| check_templates(Kind::MySql, &owned(&[statement]), true);
        assert_eq!(check("CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'"), Ok(()));
        assert_eq!(check("CREATE USER '{{name}}'@'%' IDENTIFIED BY PASSWORD '{{password_hash}}'"), Ok(()));
        assert_eq!(check("CREATE USER '{{name}}'@'%'"), Err(TemplateError::NoPassword));
        assert_eq!(check("CREATE USER 'app'@'%' IDENTIFIED BY '{{password}}'"), Err(TemplateError::NoName));
    }

    #[test]
    fn rules_of_redis_need_no_name_and_know_no_password() {
        let check = |statement| check_templates(Kind::Redis, &owned(&[statement]), true);
        assert_eq!(check("~app:* +@read"), Ok(()));
        assert_eq!(check("~{{name}}:* +@all"), Ok(()));
        for unknown in ["~app:* >{{password}}", "~{{expiration}}", "~{{name"] {
            assert_eq!(check(unknown), Err(TemplateError::Placeholder(1, NAMES.1)));
        }
        assert_eq!(check_templates(Kind::Redis, &[], true), Err(TemplateError::NoRule));
        assert_eq!(check_templates(Kind::Redis, &[], false), Ok(()));
        assert_eq!(check_templates(Kind::Redis, &owned(&["off"]), false), Err(TemplateError::Revocation));
    }
}
