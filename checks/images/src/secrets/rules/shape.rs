//! What must be around a keyword, and what of it is the secret.

use std::ops::Range;

use super::super::{assignment, credentials, pem, real};

/// Characters of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// `0-9a-f`
    Hex,
    /// `0-9A-Za-z`
    Alnum,
    /// `0-9A-Z`
    UpperAlnum,
    /// `0-9a-z`
    LowerAlnum,
    /// `A-Z2-7`
    Base32,
    /// `0-9A-Za-z_-`
    Url,
    /// `0-9A-Za-z+/=`
    Base64,
    /// `0-9A-Za-z_.-`
    UrlDot,
    /// `0-9A-Za-z_~.-`
    Azure,
}

impl Charset {
    /// Whether the byte belongs to it.
    pub(crate) const fn has(self, byte: u8) -> bool {
        match self {
            Self::Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::UpperAlnum => matches!(byte, b'0'..=b'9' | b'A'..=b'Z'),
            Self::LowerAlnum => matches!(byte, b'0'..=b'9' | b'a'..=b'z'),
            Self::Base32 => matches!(byte, b'2'..=b'7' | b'A'..=b'Z'),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
            Self::UrlDot => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Azure => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'~'),
        }
    }
}

/// What must be around a keyword.
#[derive(Debug)]
pub(crate) enum Shape {
    /// The token begins with the keyword, and is that and characters of one set.
    Token {
        /// What follows the keyword.
        charset: Charset,
        /// Characters after the keyword, at least.
        min: usize,
        /// And at most: a longer run is something else.
        max: usize,
        /// What must hold of the whole token.
        valid: fn(&[u8]) -> bool,
    },
    /// The keyword is in the token's middle.
    Inside {
        /// What is before and after it.
        charset: Charset,
        /// Characters before it, at least and at most.
        before: (usize, usize),
        /// Characters after it, at least and at most.
        after: (usize, usize),
    },
    /// The keyword is in the name of what is assigned; lower and upper case are one.
    Assigned {
        /// What the value is made of.
        charset: Charset,
        /// Characters of the value, at least.
        min: usize,
        /// And at most.
        max: usize,
        /// Shannon's entropy of the value, in bits a character, at least.
        entropy: f32,
    },
    /// A value of any characters that is assigned to a name with the keyword in it, and looks random.
    Generic,
    /// A private key in PEM's form that is really one.
    PrivateKey {
        /// Whether it is encrypted.
        encrypted: bool,
    },
    /// An address with a password: the keyword is its scheme's end.
    Url,
    /// A JSON web token.
    Jwt,
    /// What follows the keyword in a header `Authorization`.
    Header,
    /// The password that the command `curl` is given.
    Curl,
    /// A user and a password in Base64: the keyword is the field's name in JSON.
    Login,
}

impl Shape {
    /// Whether lower and upper case of the keyword are one.
    pub(crate) const fn ignores_case(&self) -> bool {
        matches!(self, Self::Assigned { .. } | Self::Generic)
    }

    /// Whether it is looked for in texts alone: in programs it would be found by chance.
    pub(crate) const fn is_for_text(&self) -> bool {
        matches!(self, Self::Assigned { .. } | Self::Generic | Self::Url | Self::Header | Self::Curl | Self::Login)
    }

    /// What is the secret, where the keyword is at `at` of `text`.
    pub(crate) fn find(&self, text: &[u8], at: Range<usize>) -> Option<Range<usize>> {
        match *self {
            Self::Token { charset, min, max, valid } => {
                if is_inside_word(text, at.start, charset) {
                    return None;
                }
                let count = run(text.get(at.end..)?, charset, max + 1);
                let found = at.start..at.end + count;
                let token = text.get(found.clone())?;
                ((min..=max).contains(&count) && real::is_random_enough(text.get(at.end..found.end)?) && valid(token))
                    .then_some(found)
            }
            Self::Inside { charset, before, after } => {
                let head = text.get(..at.start)?;
                let ahead = head.iter().rev().take(before.1 + 1).take_while(|byte| charset.has(**byte)).count();
                let behind = run(text.get(at.end..)?, charset, after.1 + 1);
                let found = at.start.checked_sub(ahead)?..at.end + behind;
                let is = (before.0..=before.1).contains(&ahead) && (after.0..=after.1).contains(&behind);
                (is && real::is_random_enough(text.get(found.clone())?)).then_some(found)
            }
            Self::Assigned { charset, min, max, entropy } => {
                let value = assignment::value(text, at.end)?;
                let bytes = text.get(value.clone())?;
                let is = (min..=max).contains(&bytes.len())
                    && bytes.iter().all(|byte| charset.has(*byte))
                    && real::entropy(bytes) >= entropy
                    && !real::is_placeholder(bytes);
                is.then_some(value)
            }
            Self::Generic => {
                let value = assignment::value(text, at.end)?;
                real::is_secret_like(text.get(value.clone())?).then_some(value)
            }
            Self::PrivateKey { encrypted } => pem::private_key(text, at.start, encrypted),
            Self::Url => credentials::in_url(text, at.end),
            Self::Jwt => credentials::jwt(text, at.start),
            Self::Header => credentials::in_header(text, at),
            Self::Curl => credentials::for_curl(text, at.end),
            Self::Login => credentials::in_login(text, at.end),
        }
    }
}

/// Anything holds.
pub(crate) const fn any(_: &[u8]) -> bool {
    true
}

/// How many bytes from the start belong to the set, up to `max`.
fn run(text: &[u8], charset: Charset, max: usize) -> usize {
    text.iter().take(max).take_while(|byte| charset.has(**byte)).count()
}

/// Whether what is before `at` goes on into it: the keyword is then a part of a longer word.
fn is_inside_word(text: &[u8], at: usize, charset: Charset) -> bool {
    let Some(before) = at.checked_sub(1).and_then(|at| text.get(at)) else { return false };
    // `\n` and the like before a token, in a string of a program.
    let is_escape = matches!(before, b'n' | b't' | b'r') && at.checked_sub(2).and_then(|at| text.get(at)) == Some(&b'\\');
    !is_escape && (before.is_ascii_alphanumeric() || (*before != b'=' && *before != b'/' && charset.has(*before)))
}
