use proptest::prelude::*;
use vsss_rs::Gf256;

use super::*;

/// The product by the definition of the field: long multiplication of polynomials, then division by 0x11b.
fn product_by_definition(a: u8, b: u8) -> u8 {
    let mut product = (0..8).filter(|bit| b >> bit & 1 == 1).fold(0_u16, |sum, bit| sum ^ (u16::from(a) << bit));
    for bit in (8..16).rev() {
        if product >> bit & 1 == 1 {
            product ^= 0x11b << (bit - 8);
        }
    }
    u8::try_from(product).unwrap()
}

#[test]
fn every_product_is_that_of_the_field() {
    for a in 0..=255 {
        for b in 0..=255 {
            assert_eq!(multiply(a, b), product_by_definition(a, b), "{a} * {b}");
        }
    }
    // FIPS 197, 4.2.
    assert_eq!(multiply(0x57, 0x83), 0xc1);
}

#[test]
fn every_element_times_its_inverse_is_one() {
    assert_eq!(inverse(0), 0);
    for a in 1..=255 {
        assert_eq!(multiply(a, inverse(a)), 1, "{a}");
    }
}

#[test]
fn any_quorum_makes_the_secret_and_one_less_does_not() {
    let secret = random::array().unwrap();
    for count in 1..=6 {
        for threshold in 1..=count {
            let Ok(points) = split(&secret, threshold, count) else {
                assert_eq!((threshold, count > 1), (1, true));
                continue;
            };
            // Every subset of the shares.
            for subset in 1..1_u32 << count {
                let chosen: Vec<_> = points.iter().filter(|point| subset >> (point.index - 1) & 1 == 1).collect();
                let enough = chosen.len() >= usize::from(threshold);
                assert_eq!(combine(&chosen).unwrap().same(&secret), enough, "{subset:b} of {threshold} of {count}");
            }
        }
    }
}

#[test]
fn numbers_hold_to_their_limits() {
    let secret = random::array().unwrap();
    for (threshold, count) in [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (3, 2), (2, SHARES_MAX + 1), (255, 255)] {
        assert_eq!(split(&secret, threshold, count).err(), Some(SplitError::Numbers), "{threshold} of {count}");
    }
    let all = split(&secret, SHARES_MAX, SHARES_MAX).unwrap();
    assert!(combine(&all.iter().collect::<Vec<_>>()).unwrap().same(&secret));
    let many: Vec<_> = (1..=SHARES_MAX + 1).map(|index| Point { index, values: secret.duplicate() }).collect();
    assert_eq!(combine(&many.iter().collect::<Vec<_>>()).err(), Some(CombineError));
}

#[test]
fn points_that_are_none_do_not_combine() {
    let point = |index| Point { index, values: SecretArray::copied_from(&[7; SECRET_BYTES]) };
    assert!(combine(&[]).is_err());
    assert!(combine(&[&point(0), &point(1)]).is_err());
    assert!(combine(&[&point(3), &point(1), &point(3)]).is_err());
}

proptest! {
    #[test]
    fn another_implementation_reads_our_shares(secret: [u8; 32], threshold in 2..=8_u8, more in 0..=8_u8, skip in 0..=8_usize) {
        let points = split(&SecretArray::copied_from(&secret), threshold, threshold + more).unwrap();
        let theirs: Vec<Vec<u8>> = points
            .iter()
            .skip(skip.min(usize::from(more)))
            .map(|point| [&[point.index], point.values.expose().as_slice()].concat())
            .collect();
        prop_assert_eq!(Gf256::combine_array(&theirs).unwrap(), secret);
    }

    #[test]
    fn we_read_the_shares_of_another_implementation(secret: [u8; 32], threshold in 2..=8_usize, more in 0..=8_usize) {
        let theirs = Gf256::split_array(threshold, threshold + more, secret, RingRng).unwrap();
        let points: Vec<_> = theirs
            .iter()
            .skip(more)
            .map(|share| Point { index: share[0], values: share[1..].try_into().unwrap() })
            .collect();
        let combined = combine(&points.iter().collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(combined.expose(), &secret);
    }
}

/// The random numbers of this crate for the other implementation.
struct RingRng;

impl rand_core::TryRng for RingRng {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_le_bytes(random::bytes().unwrap()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_le_bytes(random::bytes().unwrap()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        random::fill(bytes).unwrap();
        Ok(())
    }
}

impl rand_core::TryCryptoRng for RingRng {}

/// What arithmetic may not have: a table that is looked into, or a branch that is taken, by a secret. Caches and predictors
/// of a processor would tell.
#[test]
fn the_arithmetic_has_no_table_and_no_branch() {
    let source = include_str!("../shamir.rs");
    for function in ["const fn multiply(", "const fn inverse(", "fn evaluate("] {
        let (_, rest) = source.split_once(function).unwrap();
        let (body, _) = rest.split_once("\n}\n").unwrap();
        let (_, body) = body.split_once("{\n").unwrap();
        for word in ["if ", "match ", "&&", "||", ".get("] {
            assert!(!body.contains(word), "{function} has {word:?}");
        }
        // A bracket behind a name or a call: a list of the code's own has none there.
        let in_front = |c: char| c.is_alphanumeric() || matches!(c, '_' | ')' | ']');
        let indexed = |(at, _): (usize, &str)| body.split_at(at).0.ends_with(in_front);
        assert!(!body.match_indices('[').any(indexed), "{function} has an index");
    }
}
