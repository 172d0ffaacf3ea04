//! Templates: minijinja over the fields of secrets.
//!
//! `{{ secret.password }}` is the field `password` of the secret that `path` names; with `paths`, the names given there
//! stand for `secret`. A field that is not UTF-8 text is there as `NAME_b64`, in base64. A credential also has
//! `secret.lease`, which is no field: loops over fields do not see it. What is not defined is an error, nothing is
//! escaped, and work and output are bounded. Filters: those of minijinja, `b64encode`, `b64decode`.
//!
//! minijinja keeps copies of values that are not wiped until their memory is used again.

use std::{collections::BTreeMap, fmt, io, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use coffer_secret::SecretBytes;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value,
    syntax::SyntaxConfig,
    value::{Enumerator, Object},
};

use super::{FILE_BYTES_MAX, Given, Term};
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

/// What a credential has beside its fields.
const LEASE: &str = "lease";

/// What a template sees, by its name for a secret.
type Context<'a> = BTreeMap<&'a str, Arc<Seen>>;

/// What a template sees of a secret: fields and their text.
struct Seen {
    fields: BTreeMap<String, Value>,
    /// How long it lasts; nothing for what is no credential.
    lease: BTreeMap<&'static str, String>,
}

impl Seen {
    fn has(&self, name: &str) -> bool {
        let of_lease = |(parent, part)| parent == LEASE && self.lease.contains_key(part);
        self.fields.contains_key(name) || name == LEASE && !self.lease.is_empty() || name.split_once('.').is_some_and(of_lease)
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.fields.keys().cloned().chain(self.lease.keys().map(|part| format!("{LEASE}.{part}")))
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen")
    }
}

impl Object for Seen {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        let lease = || (key == LEASE && !self.lease.is_empty()).then(|| Value::from_pairs(self.lease.clone()));
        self.fields.get(key).cloned().or_else(lease)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let names: Vec<Value> = self.fields.keys().map(|name| Value::from(name.as_str())).collect();
        Enumerator::Iter(Box::new(names.into_iter()))
    }
}

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

    pub(crate) fn render(&self, given: &BTreeMap<&str, (&Source, &Given)>) -> Result<SecretBytes, TemplateError> {
        let environment = environment();
        let fail = |error: Error, hint: &str| explain(&self.name, &error, hint);
        let template = environment.template_from_str(&self.text).map_err(|error| fail(error, ""))?;
        let context: Context<'_> = given.iter().map(|(alias, (_, given))| (*alias, Arc::new(seen(given)))).collect();
        let unknown: Vec<String> =
            template.undeclared_variables(true).into_iter().filter(|name| !is_known(&context, name)).collect();
        let known: Vec<String> =
            context.iter().flat_map(|(alias, seen)| seen.names().map(move |name| format!("{alias}.{name}"))).collect();
        let hint = format!("{}; there are: {}", sorted(unknown), known.join(", "));
        let values = Value::from_pairs(context.into_iter().map(|(alias, seen)| (alias, Value::from_dyn_object(seen))));
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

fn seen(given: &Given) -> Seen {
    let mut fields = BTreeMap::new();
    for (name, value) in &given.secret.fields {
        match std::str::from_utf8(value.expose()) {
            Ok(text) => fields.insert(name.clone(), Value::from(text)),
            Err(_) => fields.insert(format!("{name}_b64"), Value::from(BASE64_STANDARD.encode(value.expose()))),
        };
    }
    Seen { fields, lease: given.term.as_ref().map(lease).unwrap_or_default() }
}

/// What is known of a credential's time: moments in UTC, as RFC 3339 has them.
fn lease(term: &Term) -> BTreeMap<&'static str, String> {
    let moment = |moment| humantime::format_rfc3339_seconds(moment).to_string();
    let id = term.lease.iter().map(|id| ("id", id.clone()));
    id.chain([("issued", moment(term.issued)), ("expires", moment(term.expires))]).collect()
}

fn is_known(context: &Context<'_>, name: &str) -> bool {
    match name.split_once('.') {
        Some((alias, field)) => context.get(alias).is_some_and(|seen| seen.has(field)),
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
