//! `PostureService`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::{clock::Timestamp, principal::Name};
use coffer_proto::v1::{
    ConfirmPostureLossRequest, ConfirmPostureLossResponse, GetPostureRequest, GetPostureResponse, ListPosturesRequest,
    ListPosturesResponse, Posture, PostureFinding, PostureState as WireState, ReportPostureRequest, ReportPostureResponse,
    posture_service_server::PostureService,
};
use coffer_vault::{Failure, JudgedPosture, Planned, PostureInfo, PostureReport, PostureState};

use super::{convert, service};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

/// Who vouches for a posture: whoever is root on the node can have it say anything.
const ASSURANCE: &str = "self-reported";

service! { PostureService:
    report_posture(ReportPostureRequest) -> ReportPostureResponse = Report;
    list_postures(ListPosturesRequest) -> ListPosturesResponse = List;
    get_posture(GetPostureRequest) -> GetPostureResponse = Get;
    confirm_posture_loss(ConfirmPostureLossRequest) -> ConfirmPostureLossResponse = ConfirmLoss;
}

fn posture(info: PostureInfo) -> Posture {
    let PostureInfo { cluster, node, state, record, expires } = info;
    let state = match state {
        PostureState::Fresh => WireState::Fresh,
        PostureState::Held => WireState::Held,
        PostureState::Lost => WireState::Lost,
    };
    Posture {
        cluster,
        node,
        state: state.into(),
        posture: record.posture,
        swap: record.swap,
        failing: record.failing,
        assurance: ASSURANCE.to_owned(),
        failed: record.failed,
        unknown: record.unknown,
        passed: record.passed,
        boot_id: record.boot,
        gathered: convert::time(record.gathered),
        received: convert::time(record.received),
        expires: convert::time(expires),
    }
}

struct Report {
    report: PostureReport,
    judged: Option<JudgedPosture>,
}

/// A moment of somebody else's clock.
fn moment(time: Option<prost_types::Timestamp>) -> Result<Timestamp, Failure> {
    let time = time.unwrap_or_default();
    let wrong = |_| Failure::invalid("a time before 1970");
    let (secs, nanos) = (u64::try_from(time.seconds).map_err(wrong)?, u64::try_from(time.nanos).map_err(wrong)?);
    Ok(Timestamp::from_millis(secs.saturating_mul(1_000).saturating_add(nanos / 1_000_000)))
}

#[async_trait]
impl Operation for Report {
    type Request = ReportPostureRequest;
    type Response = ReportPostureResponse;
    const RPC: Rpc = rpc::REPORT_POSTURE;
    const CHANGES_VAULT: bool = true;

    fn parse(request: ReportPostureRequest) -> Result<Self, Failure> {
        let ReportPostureRequest { facts, signature, public_key, sequence, gathered } = request;
        let report = PostureReport { facts, signature, public_key, sequence, gathered: moment(gathered)? };
        report.check()?;
        Ok(Self { report, judged: None })
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        self.judged = Some(call.vault.judge_posture(&call.who, &self.report)?);
        Ok(())
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ReportPostureResponse>, Failure> {
        let judged = self.judged.as_ref().ok_or_else(|| Failure::internal("a report was not judged"))?;
        call.record.detail("posture", judged.posture());
        Ok(call.vault.take_posture(judged).await?.map(|expires| ReportPostureResponse {
            node: judged.node().to_owned(),
            posture: judged.posture().to_owned(),
            expires: convert::time(expires),
        }))
    }
}

struct List {
    cluster: Option<Name>,
    page: Page,
}

#[async_trait]
impl Operation for List {
    type Request = ListPosturesRequest;
    type Response = ListPosturesResponse;
    const RPC: Rpc = rpc::LIST_POSTURES;

    fn parse(request: ListPosturesRequest) -> Result<Self, Failure> {
        let cluster = if request.cluster.is_empty() { None } else { Some(convert::name(&request.cluster)?) };
        Ok(Self { cluster, page: Page::parse(request.page_size, request.page_token)? })
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListPosturesResponse>, Failure> {
        const LIST: &str = "postures";
        if let Some(cluster) = &self.cluster {
            call.vault.cluster(cluster)?;
        }
        let after = self.page.after(&call.vault, LIST)?;
        let (infos, more) = call.vault.postures(self.cluster.as_ref(), &after, self.page.size());
        let last = infos.last().map(|info| format!("{}/{}", info.cluster, info.node));
        let next_page_token = Page::next(&call.vault, LIST, last.as_deref(), more)?;
        Ok(Planned::read(ListPosturesResponse { postures: infos.into_iter().map(posture).collect(), next_page_token }))
    }
}

struct Get {
    cluster: Name,
    node: String,
}

#[async_trait]
impl Operation for Get {
    type Request = GetPostureRequest;
    type Response = GetPostureResponse;
    const RPC: Rpc = rpc::GET_POSTURE;

    fn parse(request: GetPostureRequest) -> Result<Self, Failure> {
        if request.node.is_empty() || request.node.len() > coffer_core::limits::KUBERNETES_NAME_BYTES_MAX {
            return Err(Failure::invalid("a node's name is not empty, and no longer than names of Kubernetes are"));
        }
        Ok(Self { cluster: convert::name(&request.cluster)?, node: request.node })
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("cluster".to_owned(), self.cluster.to_string()), ("node".to_owned(), self.node.clone())])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetPostureResponse>, Failure> {
        let found = call.vault.posture(&self.cluster, &self.node).await?;
        let findings = found.findings.into_iter().map(|finding| PostureFinding {
            id: finding.check.id.to_owned(),
            title: finding.check.title.to_owned(),
            severity: finding.check.severity.to_string(),
            tier: finding.check.tier.to_string(),
            status: finding.status.to_string(),
            subject: finding.subject,
            evidence: finding.evidence,
            remedy: finding.check.remedy.to_owned(),
        });
        Ok(Planned::read(GetPostureResponse {
            findings: findings.collect(),
            posture: Some(posture(found.posture)),
            left_out: u32::try_from(found.left_out).unwrap_or(u32::MAX),
        }))
    }
}

struct ConfirmLoss(Name);

#[async_trait]
impl Operation for ConfirmLoss {
    type Request = ConfirmPostureLossRequest;
    type Response = ConfirmPostureLossResponse;
    const RPC: Rpc = rpc::CONFIRM_POSTURE_LOSS;

    fn parse(request: ConfirmPostureLossRequest) -> Result<Self, Failure> {
        convert::name(&request.cluster).map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("cluster".to_owned(), self.0.to_string())])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ConfirmPostureLossResponse>, Failure> {
        let nodes = call.vault.confirm_posture_loss(&self.0)?;
        call.record.detail("nodes", nodes);
        Ok(Planned::read(ConfirmPostureLossResponse { nodes: u32::try_from(nodes).unwrap_or(u32::MAX) }))
    }
}
