//! Statements as operators write them: SQL with `{{name}}`, `{{password}}` and `{{expiration}}`.
//!
//! No hostile name gets out of its quotes, for none has a character that means anything to a database: names have a-z, 0-9
//! and `_`; passwords letters and digits; what is put in for a password where the database takes a verifier has
//! `[A-Za-z0-9+/=$:-]`. What is not so is refused here, whatever it was before.

use crate::error::{DatabaseError, Fault};

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
    #[error(
        "statement {0} has a placeholder that is none of {{{{name}}}}, {{{{username}}}}, {{{{password}}}}, {{{{expiration}}}}"
    )]
    Placeholder(usize),
    /// None names the user.
    #[error("no statement has {{{{name}}}}: every caller would get the same user")]
    NoName,
    /// None has the password.
    #[error("no statement has {{{{password}}}}")]
    NoPassword,
}

/// What is put into statements.
pub(crate) struct Values<'a> {
    pub(crate) name: &'a str,
    pub(crate) password: &'a str,
    pub(crate) expiration: &'a str,
}

/// Checks statements: with `makes_user`, those that make one, which must name it and its password.
pub fn check_templates(statements: &[String], makes_user: bool) -> Result<(), TemplateError> {
    if statements.len() > STATEMENTS_MAX {
        return Err(TemplateError::TooMany);
    }
    let (mut name, mut password) = (false, false);
    for (number, statement) in (1..).zip(statements) {
        if statement.trim().is_empty() || statement.len() > STATEMENT_BYTES_MAX {
            return Err(TemplateError::Length(number));
        }
        for piece in pieces(statement) {
            match piece {
                Piece::Text(_) => {}
                Piece::Placeholder("name" | "username") => name = true,
                Piece::Placeholder("password") if makes_user => password = true,
                Piece::Placeholder("expiration") if makes_user => {}
                Piece::Placeholder(_) => return Err(TemplateError::Placeholder(number)),
            }
        }
    }
    match (makes_user, name, password) {
        (true, false, _) => Err(TemplateError::NoName),
        (true, _, false) => Err(TemplateError::NoPassword),
        _ => Ok(()),
    }
}

/// A statement with values in place of its placeholders.
pub(crate) fn render(statement: &str, values: &Values<'_>) -> Result<String, DatabaseError> {
    let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let password = |c: char| c.is_ascii_alphanumeric() || "+/=$:-".contains(c);
    let expiration = |c: char| c.is_ascii_digit() || "-: +TZ".contains(c);
    let strange = |what: &str| DatabaseError::new(Fault::Statement, format!("a {what} with characters that it cannot have"));
    if values.name.is_empty() || !values.name.chars().all(name) {
        return Err(strange("name"));
    }
    if !values.password.chars().all(password) {
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
            Piece::Placeholder("expiration") => values.expiration,
            Piece::Placeholder(_) => return Err(strange("placeholder")),
        });
    }
    Ok(text)
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

    const VALUES: Values<'static> =
        Values { name: "cf_app_1", password: "SCRAM-SHA-256$1:a+/=", expiration: "2026-11-28 10:00:00+00" };

    #[test]
    fn placeholders_become_values_wherever_they_stand() {
        let statement =
            r#"CREATE ROLE "{{name}}" LOGIN PASSWORD '{{ password }}' VALID UNTIL '{{expiration}}'; GRANT r TO {{username}}"#;
        assert_eq!(
            render(statement, &VALUES).unwrap(),
            r#"CREATE ROLE "cf_app_1" LOGIN PASSWORD 'SCRAM-SHA-256$1:a+/=' VALID UNTIL '2026-11-28 10:00:00+00'; GRANT r TO cf_app_1"#
        );
    }

    #[test]
    fn nothing_is_put_in_that_could_end_a_quotation() {
        for hostile in ["", "a\"; DROP TABLE t; --", "a'b", "a`b", "a\\", "A", "a b", "a-b", "ä", "a\0", "a\n", "{{password}}"] {
            assert!(render("{{name}}", &Values { name: hostile, ..VALUES }).is_err(), "{hostile}");
        }
        for hostile in ["a'b", "a\"b", "a\\b", "a`b", "a;b", "a b", "ä", "a\0"] {
            assert!(render("{{password}}", &Values { password: hostile, ..VALUES }).is_err(), "{hostile}");
            assert!(render("{{expiration}}", &Values { expiration: hostile, ..VALUES }).is_err(), "{hostile}");
        }
    }

    #[test]
    fn statements_that_could_not_work_are_refused_with_their_number() {
        let check = |statements: &[&str]| check_templates(&owned(statements), true);
        assert_eq!(check(&["CREATE ROLE {{name}} PASSWORD '{{password}}'"]), Ok(()));
        assert_eq!(check(&[]), Err(TemplateError::NoName));
        assert_eq!(check(&["CREATE ROLE app PASSWORD '{{password}}'"]), Err(TemplateError::NoName));
        assert_eq!(check(&["CREATE ROLE {{name}}"]), Err(TemplateError::NoPassword));
        assert_eq!(check(&["SELECT 1", " "]), Err(TemplateError::Length(2)));
        assert_eq!(check(&["SELECT {{user}}"]), Err(TemplateError::Placeholder(1)));
        assert_eq!(check(&["SELECT 1", "SELECT {{name"]), Err(TemplateError::Placeholder(2)));
        assert_eq!(check_templates(&owned(&["DROP ROLE {{name}}"]), false), Ok(()));
        assert_eq!(check_templates(&owned(&["SELECT '{{password}}'"]), false), Err(TemplateError::Placeholder(1)));
        let many = |count: usize| vec!["SELECT '{{name}}'".to_owned(); count];
        assert_eq!(check_templates(&many(STATEMENTS_MAX), false), Ok(()));
        assert_eq!(check_templates(&many(STATEMENTS_MAX + 1), false), Err(TemplateError::TooMany));
        let long = |bytes: usize| vec![format!("{:<bytes$}", "x")];
        assert_eq!(check_templates(&long(STATEMENT_BYTES_MAX), false), Ok(()));
        assert_eq!(check_templates(&long(STATEMENT_BYTES_MAX + 1), false), Err(TemplateError::Length(1)));
    }
}
