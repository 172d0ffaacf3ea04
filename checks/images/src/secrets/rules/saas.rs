//! Payment, mail, chat, models.

use super::{Certainty, Charset, Rule, Shape, token};

pub(super) const RULES: &[Rule] = &[
    // Payment and shops.
    token("stripe-live-key", "a live key of Stripe", &["sk_live_", "rk_live_"], Charset::Alnum, 10, 250),
    token("stripe-test-key", "a test key of Stripe", &["sk_test_", "rk_test_", "sk_prod_", "rk_prod_"], Charset::Alnum, 10, 250)
        .likely(),
    token("stripe-webhook-secret", "a webhook's secret of Stripe", &["whsec_"], Charset::Base64, 32, 64),
    token("square-token", "a token of Square", &["sq0atp-", "sq0csp-"], Charset::Url, 22, 60),
    token("square-access-token", "an access token of Square", &["EAAAE", "EAAAF", "EAAAl"], Charset::Url, 55, 60).likely(),
    token("shopify-token", "a token of Shopify", &["shpat_", "shpca_", "shppa_", "shpss_"], Charset::Alnum, 32, 32),
    token("easypost-key", "an API key of EasyPost", &["EZAK", "EZTK"], Charset::Alnum, 54, 54),
    token("flutterwave-key", "a key of Flutterwave", &["FLWSECK-", "FLWSECK_TEST-"], Charset::Alnum, 12, 40),
    token("duffel-token", "a token of Duffel", &["duffel_live_", "duffel_test_"], Charset::Url, 43, 43),
    token("shippo-token", "a token of Shippo", &["shippo_live_", "shippo_test_"], Charset::Hex, 40, 40),
    token("razorpay-key", "a live key of Razorpay", &["rzp_live_"], Charset::Alnum, 14, 14).likely(),
    token("adyen-key", "an API key of Adyen", &["AQE"], Charset::Base64, 80, 400).likely(),
    token("plaid-token", "an access token of Plaid", &["access-production-", "access-sandbox-"], Charset::Url, 36, 36),
    // Mail and messages.
    token("sendgrid-key", "an API key of SendGrid", &["SG."], Charset::UrlDot, 66, 66),
    token("brevo-key", "an API key of Brevo", &["xkeysib-", "xsmtpsib-"], Charset::Url, 81, 81),
    token("mailgun-key", "a key of Mailgun", &["key-"], Charset::Hex, 32, 32).likely(),
    token("mailersend-token", "a token of MailerSend", &["mlsn."], Charset::Hex, 64, 64),
    token("resend-key", "an API key of Resend", &["re_"], Charset::Url, 33, 33).likely(),
    Rule {
        id: "mailchimp-key",
        what: "an API key of Mailchimp",
        certainty: Certainty::Likely,
        keywords: &["-us1", "-us2", "-us3", "-us4", "-us5", "-us6", "-us7", "-us8", "-us9"],
        shape: Shape::Inside { charset: Charset::Hex, before: (32, 32), after: (0, 1) },
    },
    token(
        "twilio-key",
        "an API key of Twilio",
        &["SK0", "SK1", "SK2", "SK3", "SK4", "SK5", "SK6", "SK7", "SK8", "SK9"],
        Charset::Hex,
        31,
        31,
    )
    .likely(),
    token("slack-token", "a token of Slack", &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-"], Charset::Url, 24, 250)
        .valid(is_slack),
    token("slack-config-token", "a configuration token of Slack", &["xoxe-", "xoxe.xoxb-", "xoxe.xoxp-"], Charset::Url, 60, 250),
    token("slack-app-token", "an app's token of Slack", &["xapp-"], Charset::Url, 40, 160),
    token(
        "slack-webhook",
        "a webhook of Slack",
        &["hooks.slack.com/services/", "hooks.slack.com/workflows/"],
        Charset::Base64,
        40,
        90,
    ),
    token(
        "discord-webhook",
        "a webhook of Discord",
        &["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"],
        Charset::Url,
        17,
        20,
    )
    .likely(),
    Rule {
        id: "telegram-bot-token",
        what: "a bot's token of Telegram",
        certainty: Certainty::Sure,
        keywords: &[":AA"],
        shape: Shape::Inside { charset: Charset::Url, before: (8, 10), after: (33, 33) },
    },
    token("facebook-token", "an access token of Facebook", &["EAAM", "EAAC"], Charset::Alnum, 100, 300),
    token("zoho-token", "a refresh token of Zoho", &["1000."], Charset::UrlDot, 65, 65).likely(),
    // Models.
    token(
        "anthropic-key",
        "an API key of Anthropic",
        &["sk-ant-api03-", "sk-ant-admin01-", "sk-ant-oat01-"],
        Charset::Url,
        90,
        110,
    )
    .valid(|token| token.ends_with(b"AA")),
    Rule {
        id: "openai-key",
        what: "an API key of OpenAI",
        certainty: Certainty::Sure,
        keywords: &["T3BlbkFJ"],
        shape: Shape::Inside { charset: Charset::Url, before: (20, 100), after: (20, 100) },
    },
    token("huggingface-token", "a token of Hugging Face", &["hf_", "api_org_"], Charset::Alnum, 34, 34),
    token("groq-key", "an API key of Groq", &["gsk_"], Charset::Alnum, 52, 52),
    token("perplexity-key", "an API key of Perplexity", &["pplx-"], Charset::Alnum, 48, 56),
    token("replicate-token", "a token of Replicate", &["r8_"], Charset::Alnum, 37, 37),
    token("xai-key", "an API key of xAI", &["xai-"], Charset::Alnum, 70, 90),
    token("pinecone-key", "an API key of Pinecone", &["pcsk_"], Charset::Url, 60, 90),
    token("langsmith-key", "an API key of LangSmith", &["lsv2_pt_", "lsv2_sk_"], Charset::Url, 43, 43),
    token("sk-hex-key", "an API key of the form sk-", &["sk-"], Charset::Hex, 32, 32).likely(),
    // Work.
    token("notion-token", "a token of Notion", &["ntn_"], Charset::Alnum, 46, 46),
    token("airtable-token", "a token of Airtable", &["pat"], Charset::UrlDot, 79, 79).likely(),
    token("figma-token", "a token of Figma", &["figd_"], Charset::Url, 40, 44),
    token("typeform-token", "a token of Typeform", &["tfp_"], Charset::UrlDot, 59, 59),
    token("frameio-token", "a token of Frame.io", &["fio-u-"], Charset::Url, 64, 64),
    token("hubspot-token", "a private app's token of HubSpot", &["pat-na1-", "pat-na2-", "pat-eu1-"], Charset::Url, 36, 36),
    token("mapbox-secret-token", "a secret token of Mapbox", &["sk.eyJ"], Charset::UrlDot, 60, 200),
    token("contentful-token", "a management token of Contentful", &["CFPAT-"], Charset::Url, 43, 43),
    token("adobe-secret", "a client secret of Adobe", &["p8e-", "p8s-"], Charset::Url, 32, 32),
    token("dropbox-token", "a short-lived token of Dropbox", &["sl."], Charset::Url, 130, 1200).likely(),
    token("apify-token", "a token of Apify", &["apify_api_"], Charset::Alnum, 36, 36),
    token("launchdarkly-key", "a key of LaunchDarkly", &["sdk-", "api-"], Charset::Url, 36, 36).likely().valid(is_uuid),
    token("intra42-secret", "a client secret of 42", &["s-s4t2ud-", "s-s4t2af-"], Charset::Hex, 64, 64),
    token("wakatime-key", "an API key of WakaTime", &["waka_"], Charset::Url, 36, 36),
    Rule {
        id: "maxmind-key",
        what: "a licence key of MaxMind",
        certainty: Certainty::Sure,
        keywords: &["_mmk"],
        shape: Shape::Inside { charset: Charset::Url, before: (36, 36), after: (0, 0) },
    },
];

/// Whether a team's number of ten digits or more follows, or none at all.
fn is_slack(token: &[u8]) -> bool {
    let first = token.split(|byte| *byte == b'-').nth(1).unwrap_or_default();
    !first.iter().all(u8::is_ascii_digit) || first.len() >= 10
}

/// Whether the last 36 characters are a UUID.
fn is_uuid(token: &[u8]) -> bool {
    let uuid = token.iter().rev().take(36).rev();
    uuid.enumerate().all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { *byte == b'-' } else { Charset::Hex.has(*byte) })
}

#[cfg(test)]
mod tests {
    use super::{is_slack, is_uuid};

    #[test]
    fn a_token_of_slack_names_a_team() {
        assert!(is_slack(b"xoxb-123456789012-abc"));
        assert!(is_slack(b"xoxb-abcdef-abc"));
        assert!(!is_slack(b"xoxb-1234-1234-abc"));
    }

    #[test]
    fn a_uuid_has_its_dashes_where_they_belong() {
        assert!(is_uuid(b"sdk-1f0c7d5e-9a3b-4c2d-8e6f-5a4b3c2d1e0f"));
        assert!(!is_uuid(b"sdk-1f0c7d5e9a3b-4c2d-8e6f-5a4b3c2d1e0f1"));
    }
}
