//! What an answer says: a body with a bound, or why there is none.

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Bytes;
use serde::Deserialize;

use crate::{Error, error::printable, transport::Head};

/// Bytes of what a registry says about a refusal.
const REFUSAL_BYTES_MAX: usize = 16 << 10;

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Reason {
    code: String,
    message: String,
}

impl Head {
    /// The answer, where it is one; otherwise what the registry says.
    pub(crate) async fn granted(self) -> Result<Self, Error> {
        if self.status == 200 {
            return Ok(self);
        }
        let advice = match self.status {
            401 => "there is no such image, or only with credentials that are good for it",
            403 => "those credentials are not good for this image",
            404 => "there is no such image: look at its name, tag and digest",
            429 => "too much was asked of it: try later, or with credentials",
            500.. => "look at the registry, and try again",
            _ => "look at the registry",
        };
        let (host, status) = (self.origin.authority.clone(), self.status);
        // A refusal is one, whatever becomes of its words.
        let body = Limited::new(self.body, REFUSAL_BYTES_MAX).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let told = serde_json::from_slice(&body).ok().and_then(|Refusal { errors }| errors.into_iter().next());
        let told = told.map(|reason| printable(format!("{}: {}", reason.code, reason.message).trim_matches([':', ' '])));
        let told = told.filter(|told| !told.is_empty()).map(|told| format!(" ({told})")).unwrap_or_default();
        Err(Error::Refused { host, status, told, advice })
    }

    /// The whole body, of at most so many bytes.
    pub(crate) async fn whole(self, bytes_max: usize) -> Result<Bytes, Error> {
        let host = self.origin.authority;
        match Limited::new(self.body, bytes_max).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Error::wrong(&host, format!("more than {bytes_max} bytes"))),
            Err(_) => Err(Error::unreachable(&host, "its answer broke off")),
        }
    }
}
