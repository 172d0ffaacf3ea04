use std::time::Duration;

use super::*;

const KEY: [u8; 32] = [7; 32];
const ISSUED: Timestamp = Timestamp::from_secs(1_000_000);
const MILLISECOND: Duration = Duration::from_millis(1);

fn workload() -> Holder {
    Holder::Workload {
        cluster: "prod".parse().unwrap(),
        cluster_id: ClusterId::from_bytes([1; 16]),
        namespace: "payments".parse().unwrap(),
        service_account: "api".parse().unwrap(),
        service_account_uid: "9f1e".to_owned(),
        pod: Some(SessionPod { name: "api-0".to_owned(), uid: "77aa".to_owned(), node: Some("node-1".to_owned()) }),
    }
}

fn operator() -> Holder {
    Holder::Operator { id: OperatorId::from_bytes([2; 16]), name: "alice".parse().unwrap() }
}

fn claims(holder: Holder) -> SessionClaims {
    SessionClaims {
        version: SESSION_VERSION,
        id: SessionId::from_bytes([3; 16]),
        tenant: TenantId::from_bytes([4; 16]),
        expires: ISSUED.plus(holder.lifetime_max()),
        holder,
        thumbprint: KEY,
        issued: ISSUED,
        epoch: 5,
    }
}

fn before(moment: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(moment.millis() - u64::try_from(by.as_millis()).unwrap())
}

#[test]
fn a_session_holds_until_the_moment_it_ends() {
    for holder in [workload(), operator(), Holder::Bootstrap] {
        let claims = claims(holder);
        assert_eq!(claims.check(ISSUED, &KEY), Ok(()));
        assert_eq!(claims.check(before(claims.expires, MILLISECOND), &KEY), Ok(()));
        assert_eq!(claims.check(claims.expires, &KEY), Err(SessionError::Expired));
        assert_eq!(claims.check(claims.expires.plus(MILLISECOND), &KEY), Err(SessionError::Expired));
    }
}

#[test]
fn a_session_from_the_future_holds_within_the_skew_only() {
    let claims = claims(workload());
    assert_eq!(claims.check(before(ISSUED, CLOCK_SKEW), &KEY), Ok(()));
    assert_eq!(claims.check(before(ISSUED, CLOCK_SKEW + MILLISECOND), &KEY), Err(SessionError::NotYet));
}

#[test]
fn a_session_holds_for_its_own_key_only() {
    let mut other = KEY;
    for at in 0..other.len() {
        other[at] ^= 1;
        assert_eq!(claims(workload()).check(ISSUED, &other), Err(SessionError::OtherKey));
        other[at] ^= 1;
    }
}

#[test]
fn no_session_lasts_longer_than_its_kind_may() {
    for holder in [workload(), operator(), Holder::Bootstrap] {
        let mut claims = claims(holder);
        claims.expires = claims.expires.plus(MILLISECOND);
        assert_eq!(claims.check(ISSUED, &KEY), Err(SessionError::TooLong));
        claims.expires = Timestamp::from_millis(u64::MAX);
        assert_eq!(claims.check(ISSUED, &KEY), Err(SessionError::TooLong));
    }
}

#[test]
fn a_session_that_ends_when_it_begins_never_holds() {
    let mut claims = claims(operator());
    claims.expires = claims.issued;
    assert_eq!(claims.check(ISSUED, &KEY), Err(SessionError::Expired));
}

#[test]
fn other_versions_are_refused() {
    for version in [0, SESSION_VERSION + 1, u8::MAX] {
        assert_eq!(SessionClaims { version, ..claims(workload()) }.check(ISSUED, &KEY), Err(SessionError::Version));
    }
}

#[test]
fn an_epoch_ends_the_sessions_before_it() {
    let claims = claims(workload());
    assert!(!claims.ended_by(4));
    assert!(!claims.ended_by(5));
    assert!(claims.ended_by(6));
}

#[test]
fn claims_read_what_they_write_and_nothing_else() {
    for holder in [workload(), operator(), Holder::Bootstrap] {
        let claims = claims(holder);
        let bytes = claims.encode().unwrap();
        assert_eq!(SessionClaims::decode(&bytes).as_ref(), Ok(&claims));
        assert_eq!(SessionClaims::decode(&bytes[..bytes.len() - 1]), Err(SessionError::Malformed));
        assert_eq!(SessionClaims::decode(&[&bytes[..], &[0]].concat()), Err(SessionError::Malformed));
    }
    assert_eq!(SessionClaims::decode(b""), Err(SessionError::Malformed));
}

#[test]
fn names_in_claims_are_checked_again_when_they_are_read() {
    let bytes = claims(operator()).encode().unwrap();
    let at = bytes.windows(5).position(|window| window == b"alice").unwrap();
    let mut changed = bytes;
    changed[at] = b'A';
    assert_eq!(SessionClaims::decode(&changed), Err(SessionError::Malformed));
}

#[test]
fn claims_name_the_principal_that_policy_sees() {
    assert_eq!(workload().principal().to_string(), "k8s:prod/payments/api");
    assert_eq!(operator().principal().to_string(), "operator:alice");
    assert_eq!(Holder::Bootstrap.principal(), Principal::Bootstrap);
}
