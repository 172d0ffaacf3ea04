//! Where code is kept, built and published.

use super::{Charset, Rule, token};
use crate::secrets::checksum;

pub(super) const RULES: &[Rule] = &[
    token("github-token", "a token of GitHub", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], Charset::Alnum, 36, 36)
        .valid(checksum::github),
    token("github-fine-grained-token", "a fine-grained token of GitHub", &["github_pat_"], Charset::Url, 82, 82),
    token("gitlab-token", "an access token of GitLab", &["glpat-"], Charset::UrlDot, 20, 60),
    token("gitlab-deploy-token", "a deploy token of GitLab", &["gldt-", "glsoat-", "glffct-", "glft-"], Charset::Url, 20, 26),
    token("gitlab-oauth-secret", "an application's secret of GitLab", &["gloas-"], Charset::Url, 64, 64),
    token("gitlab-runner-token", "a runner's token of GitLab", &["glrt-", "glrtr-", "GR1348941"], Charset::UrlDot, 20, 60),
    token("gitlab-trigger-token", "a trigger's token of GitLab", &["glptt-"], Charset::Hex, 40, 40),
    token("gitlab-job-token", "a job's token of GitLab", &["glcbt-"], Charset::Url, 20, 30),
    token("gitlab-agent-token", "an agent's token of GitLab", &["glagent-"], Charset::Url, 50, 50),
    token("gitlab-mail-token", "a mail token of GitLab", &["glimt-"], Charset::Url, 25, 25),
    token("npm-token", "a token of npm", &["npm_"], Charset::Alnum, 36, 36).valid(checksum::github),
    token("pypi-token", "a token of PyPI", &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZw"], Charset::Url, 50, 1000),
    token("rubygems-key", "an API key of RubyGems", &["rubygems_"], Charset::Hex, 48, 48),
    token("crates-io-token", "a token of crates.io", &["cio"], Charset::Alnum, 32, 32),
    token("nuget-key", "an API key of NuGet", &["oy2"], Charset::LowerAlnum, 43, 43),
    token("clojars-token", "a token of Clojars", &["CLOJARS_"], Charset::LowerAlnum, 60, 60),
    token("docker-hub-token", "a token of Docker Hub", &["dckr_pat_"], Charset::Url, 27, 27),
    token("docker-hub-org-token", "an organisation's token of Docker Hub", &["dckr_oat_"], Charset::Url, 32, 32),
    token("artifactory-key", "an API key of Artifactory", &["AKCp"], Charset::Alnum, 69, 69),
    token("artifactory-reference-token", "a token of Artifactory", &["cmVmdGtuOj"], Charset::Alnum, 54, 54),
    token("sonarqube-token", "a token of SonarQube", &["squ_", "sqp_", "sqa_"], Charset::Hex, 40, 40),
    token("sourcegraph-token", "a token of Sourcegraph", &["sgp_"], Charset::Url, 40, 60).valid(is_sourcegraph),
    token("buildkite-token", "a token of Buildkite", &["bkua_"], Charset::Hex, 40, 40),
    token("circleci-token", "a token of CircleCI", &["CCIPAT_", "CCIPRJ_"], Charset::Url, 60, 70),
    token("atlassian-token", "a token of Atlassian", &["ATATT3xFfGF0", "ATCTT3xFfGN0"], Charset::Base64, 100, 300),
    token("bitbucket-app-password", "an app password of Bitbucket", &["ATBB"], Charset::Alnum, 32, 32),
    token("linear-key", "a key of Linear", &["lin_api_", "lin_oauth_"], Charset::Alnum, 40, 64),
    token("postman-key", "an API key of Postman", &["PMAK-"], Charset::Url, 59, 59),
    token("octopus-key", "an API key of Octopus Deploy", &["API-"], Charset::UpperAlnum, 26, 26).likely(),
    token("harness-token", "a token of Harness", &["pat.", "sat."], Charset::UrlDot, 68, 70).likely(),
    token("readme-key", "an API key of ReadMe", &["rdme_"], Charset::LowerAlnum, 70, 70),
    token("netlify-token", "a token of Netlify", &["nfp_", "nfc_"], Charset::Alnum, 36, 40),
    token("snyk-token", "a token of Snyk", &["snyk_uat."], Charset::UrlDot, 60, 200),
    token("infracost-key", "an API key of Infracost", &["ico-"], Charset::Alnum, 32, 32).likely(),
];

/// Whether it is 40 digits, with the instance's 16 or `local` before them.
fn is_sourcegraph(token: &[u8]) -> bool {
    let mut parts = token.split(|byte| *byte == b'_').skip(1);
    let is_hex = |part: &[u8], digits: usize| part.len() == digits && part.iter().all(u8::is_ascii_hexdigit);
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    third.is_none()
        && match second {
            Some(second) => (is_hex(first, 16) || first == b"local") && is_hex(second, 40),
            None => is_hex(first, 40),
        }
}

#[cfg(test)]
mod tests {
    use super::is_sourcegraph;

    #[test]
    fn a_token_of_sourcegraph_has_two_parts_or_one() {
        let digits = "0123456789abcdef0123456789abcdef01234567";
        for (token, is) in [
            (format!("sgp_{digits}"), true),
            (format!("sgp_local_{digits}"), true),
            (format!("sgp_0123456789abcdef_{digits}"), true),
            (format!("sgp_0123456789abcde_{digits}"), false),
            (format!("sgp_{digits}_{digits}"), false),
            (format!("sgp_local_{}", digits.replace('a', "g")), false),
        ] {
            assert_eq!(is_sourcegraph(token.as_bytes()), is, "{token}");
        }
    }
}
