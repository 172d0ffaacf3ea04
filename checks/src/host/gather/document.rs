//! Files of settings.

use serde_json::Value;

use super::SETTINGS_BYTES_MAX;
use crate::host::{Root, facts::Fact};

/// How a file is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// As Kubernetes does.
    Yaml,
    /// As Docker does.
    Json,
    /// As containerd does.
    Toml,
}

/// A file's settings. Where it cannot be understood, the reason has nothing of what is in it.
pub(super) fn read(root: &Root, path: &str, form: Form) -> Fact<Value> {
    root.text(path, SETTINGS_BYTES_MAX).and_then(|text| {
        let read = match form {
            Form::Yaml => serde_saphyr::from_str::<Value>(&text).ok(),
            Form::Json => serde_json::from_str(&text).ok(),
            Form::Toml => toml::from_str(&text).ok(),
        };
        let name = match form {
            Form::Yaml => "YAML",
            Form::Json => "JSON",
            Form::Toml => "TOML",
        };
        match read {
            // An empty file says nothing, which is not to be confused with a list or a word.
            Some(Value::Null) => Fact::Known(Value::Object(serde_json::Map::new())),
            Some(value @ Value::Object(_)) => Fact::Known(value),
            _ => Fact::unknown(format!("{path} is not the {name} that it should be")),
        }
    })
}

/// Lays a document over another: objects entry by entry, null takes an entry away (RFC 7396).
pub(super) fn merge(below: &mut Value, above: &Value) {
    let Value::Object(above) = above else {
        below.clone_from(above);
        return;
    };
    if !below.is_object() {
        *below = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(below) = below {
        for (name, value) in above {
            match value {
                Value::Null => drop(below.remove(name)),
                value => merge(below.entry(name.clone()).or_insert(Value::Null), value),
            }
        }
    }
}

/// The texts of a list; none where it is no list.
pub(super) fn texts<'a>(value: &'a Value, pointer: &str) -> Vec<&'a str> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_laid_over_each_other() {
        let mut below = json!({ "a": { "b": 1, "c": 2 }, "d": [1], "e": 3 });
        merge(&mut below, &json!({ "a": { "b": null, "f": { "g": null, "h": 4 } }, "d": [2], "e": null }));
        assert_eq!(below, json!({ "a": { "c": 2, "f": { "h": 4 } }, "d": [2] }));
    }
}
