//! Templates: minijinja over the fields of secrets.
//!
//! `{{ secret.password }}` is the field `password` of the secret that `path` names; with `paths`, the names given there
//! stand for `secret`. A field that is not UTF-8 text is there as `NAME_b64`, in base64. What is not defined is an
//! error, nothing is escaped, and work and output are bounded. Filters: those of minijinja, `b64encode`, `b64decode`.
//!
//! minijinja keeps copies of values that are not wiped until their memory is used again.

use std::{collections::BTreeMap, io};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use coffer_client::Secret;
use coffer_secret::SecretBytes;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, syntax::SyntaxConfig};

use super::FILE_BYTES_MAX;
use crate::config::Source;

/// Bytes in a template.
pub(crate) const TEMPLATE_BYTES_MAX: usize = 256 << 10;
/// What rendering may cost: about one instruction, or 64 bytes of values, each.
const FUEL: u64 = 400_000;
/// How deep macros and loops may nest.
const RECURSION_MAX: usize = 32;

/// A template, checked for its form.
#[derive(Debug)]
pub(crate) struct Template {
    name: String,
    text: String,
}

/// What a template sees: by its name for a secret, fields and their text.
type Context<'a> = BTreeMap<&'a str, BTreeMap<String, Value>>;

/// Why a template cannot be used. Holds no value: only what the template itself says.
#[derive(Debug, thiserror::Error)]
#[error("{name}{}: {what}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub(crate) struct TemplateError {
    name: String,
    line: Option<usize>,
    what: String,
}

impl Template {
    /// Takes a template; `name` is for errors.
    pub(crate) fn parse(name: String, text: String) -> Result<Self, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError { name, line: None, what: format!("larger than {TEMPLATE_BYTES_MAX} bytes") });
        }
        match environment().template_from_str(&text) {
            Ok(_) => Ok(Self { name, text }),
            Err(error) => Err(explain(&name, &error, "")),
        }
    }

    pub(crate) fn render(&self, secrets: &BTreeMap<&str, (&Source, &Secret)>) -> Result<SecretBytes, TemplateError> {
        let environment = environment();
        let fail = |error: Error, hint: &str| explain(&self.name, &error, hint);
        let template = environment.template_from_str(&self.text).map_err(|error| fail(error, ""))?;
        let context: Context<'_> = secrets.iter().map(|(alias, (_, secret))| (*alias, fields(secret))).collect();
        let unknown: Vec<String> =
            template.undeclared_variables(true).into_iter().filter(|name| !is_known(&context, name)).collect();
        let known: Vec<String> =
            context.iter().flat_map(|(alias, fields)| fields.keys().map(move |field| format!("{alias}.{field}"))).collect();
        let hint = format!("{}; there are: {}", sorted(unknown), known.join(", "));
        let values = Value::from_pairs(context.into_iter().map(|(alias, fields)| (alias, Value::from_pairs(fields))));
        let mut out = Bounded { content: SecretBytes::with_capacity(self.text.len()), full: false };
        let rendered = template.render_captured_to(values, &mut out);
        let failure = rendered.err();
        match failure {
            None => Ok(out.content),
            Some(_) if out.full => Err(TemplateError {
                name: self.name.clone(),
                line: None,
                what: format!("the output is larger than {FILE_BYTES_MAX} bytes"),
            }),
            Some(error) => Err(fail(error, &hint)),
        }
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters are valid"));
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.add_filter("b64encode", |text: &str| BASE64_STANDARD.encode(text));
    environment.add_filter("b64decode", |text: &str| {
        let refuse = |what: &'static str| Error::new(ErrorKind::InvalidOperation, what);
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| refuse("b64decode: not base64"))?;
        String::from_utf8(bytes).map_err(|_| refuse("b64decode: what it gives is not UTF-8 text"))
    });
    environment
}

fn fields(secret: &Secret) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    for (name, value) in &secret.fields {
        match std::str::from_utf8(value.expose()) {
            Ok(text) => fields.insert(name.clone(), Value::from(text)),
            Err(_) => fields.insert(format!("{name}_b64"), Value::from(BASE64_STANDARD.encode(value.expose()))),
        };
    }
    fields
}

fn is_known(context: &Context<'_>, name: &str) -> bool {
    match name.split_once('.') {
        Some((alias, field)) => context.get(alias).is_some_and(|fields| fields.contains_key(field)),
        None => context.contains_key(name) || environment().globals().any(|(global, _)| global == name),
    }
}

fn sorted(mut names: Vec<String>) -> String {
    names.sort();
    names.join(", ")
}

/// minijinja's error without what could be a value: its own text only where that comes from the template.
fn explain(name: &str, error: &Error, hint: &str) -> TemplateError {
    let detail = error.detail().unwrap_or_default();
    let what = match error.kind() {
        ErrorKind::UndefinedError => format!("not defined: {hint}"),
        ErrorKind::OutOfFuel => "it does too much: make it simpler".to_owned(),
        kind @ (ErrorKind::SyntaxError
        | ErrorKind::UnknownFilter
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownTest
        | ErrorKind::BadEscape) => {
            format!("{kind}: {detail}")
        }
        ErrorKind::InvalidOperation if detail.starts_with("b64decode: ") => detail.to_owned(),
        kind => kind.to_string(),
    };
    TemplateError { name: name.to_owned(), line: error.line(), what }
}

/// Takes at most `FILE_BYTES_MAX` bytes, and leaves no copies behind when it grows.
struct Bounded {
    content: SecretBytes,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.content.len().saturating_add(bytes.len()) > FILE_BYTES_MAX {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.content.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
