//! The API server's question, and the answer to it: `admission.k8s.io/v1`.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use crate::{
    Refusal,
    annotations::PREFIX,
    injection::{Operation, Settings, inject},
    pins::{Pins, unpinned},
};

/// Bytes of a question: an object has at most 1.5 MiB in etcd, and JSON makes it longer.
pub const REVIEW_BYTES_MAX: usize = 8 << 20;
const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The status of a refusal: what was sent cannot be.
const UNPROCESSABLE: u16 = 422;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    api_version: String,
    kind: String,
    request: Asked,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    uid: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    dry_run: bool,
    object: Pod,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    message: String,
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The pod gets the agent.
    Injected,
    /// It does not ask for it, or has it.
    LeftAlone,
    /// It may not be made.
    Refused,
}

/// A pod to decide about.
pub struct Review {
    uid: String,
    /// The namespace that it is to be in.
    pub namespace: String,
    /// Whether it is only tried.
    pub is_tried: bool,
    pod: Pod,
}

impl Review {
    /// Reads the API server's question.
    ///
    /// # Errors
    /// Where it is none, of a version that is not known here, or not about a pod.
    pub fn read(question: &[u8]) -> Result<Self, String> {
        let Question { api_version, kind, request } =
            serde_json::from_slice(question).map_err(|error| format!("not an AdmissionReview of a pod: {error}"))?;
        if api_version != API_VERSION || kind != KIND {
            return Err(format!("{kind} of {api_version} is not known here: {KIND} of {API_VERSION} is"));
        }
        let Asked { uid, namespace, dry_run, object } = request;
        Ok(Self { uid, namespace, is_tried: dry_run, pod: object })
    }

    /// What is to be done to the pod.
    ///
    /// # Errors
    /// As [`inject`].
    pub fn decide(&self, settings: &Settings, pins: &Pins) -> Result<Vec<Operation>, Refusal> {
        inject(&self.pod, settings, pins)
    }

    /// The images that registries have to be asked about before.
    #[must_use]
    pub fn unpinned(&self, settings: &Settings) -> BTreeSet<String> {
        unpinned(&self.pod, settings)
    }

    /// Whether it names a ConfigMap of its own with the vault's CA certificates.
    #[must_use]
    pub fn brings_authorities(&self) -> bool {
        let annotation = format!("{PREFIX}ca-config-map");
        self.pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(&annotation))
    }

    /// The answer to the question.
    #[must_use]
    pub fn answer(&self, decided: &Result<Vec<Operation>, Refusal>) -> (Verdict, Vec<u8>) {
        let mut response = Response { uid: &self.uid, allowed: true, patch_type: None, patch: None, status: None };
        let verdict = match decided {
            Ok(patch) if patch.is_empty() => Verdict::LeftAlone,
            Ok(patch) => {
                // A patch of strings is always written.
                let patch = serde_json::to_vec(patch).unwrap_or_default();
                (response.patch_type, response.patch) = (Some("JSONPatch"), Some(STANDARD.encode(patch)));
                Verdict::Injected
            }
            Err(refusal) => {
                response.allowed = false;
                response.status = Some(Status { code: UNPROCESSABLE, message: format!("coffer: {refusal}") });
                Verdict::Refused
            }
        };
        let answer = Answer { api_version: API_VERSION, kind: KIND, response };
        (verdict, serde_json::to_vec(&answer).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn question(annotations: &Value) -> Vec<u8> {
        let pod =
            json!({ "metadata": { "annotations": annotations }, "spec": { "containers": [{ "name": "app", "image": "i" }] } });
        let request = json!({ "uid": "u-1", "namespace": "shop", "dryRun": true, "object": pod, "operation": "CREATE" });
        serde_json::to_vec(&json!({ "apiVersion": API_VERSION, "kind": KIND, "request": request })).unwrap()
    }

    fn answered(annotations: &Value) -> (Verdict, Value) {
        let review = Review::read(&question(annotations)).unwrap();
        assert!(review.is_tried && review.namespace == "shop");
        let (verdict, answer) = review.answer(&review.decide(&crate::injection::tests::settings(), &Pins::new()));
        (verdict, serde_json::from_slice(&answer).unwrap())
    }

    #[test]
    fn each_verdict_has_its_answer() {
        let (verdict, answer) = answered(&json!({}));
        assert_eq!(verdict, Verdict::LeftAlone);
        let response = json!({ "uid": "u-1", "allowed": true });
        assert_eq!(answer, json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response }));

        let (verdict, answer) = answered(&json!({ "coffer.dev/inject": "true", "coffer.dev/secret-a": "kv/a" }));
        assert_eq!((verdict, &answer["response"]["patchType"]), (Verdict::Injected, &json!("JSONPatch")));
        let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
        assert!(serde_json::from_slice::<Vec<Value>>(&patch).unwrap().iter().all(|operation| operation["op"] == "add"));

        let (verdict, answer) = answered(&json!({ "coffer.dev/inject": "true" }));
        assert_eq!((verdict, &answer["response"]["allowed"]), (Verdict::Refused, &json!(false)));
        let told = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(told.starts_with("coffer: annotation coffer.dev/inject: no secret is named"), "{told}");
    }

    #[test]
    fn what_is_no_question_is_no_pod_s_fault() {
        let beta = String::from_utf8(question(&json!({}))).unwrap().replace("k8s.io/v1\"", "k8s.io/v1beta1\"");
        for question in ["", "{}", "[]", &beta] {
            assert!(Review::read(question.as_bytes()).is_err(), "{question}");
        }
    }
}
