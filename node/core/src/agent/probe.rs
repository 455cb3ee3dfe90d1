//! Probes: when to look at a running container, and what the answers come to.

use std::time::Duration;

use skein_gossip::Instant;

use super::Context;
use crate::model::pod::{Container, PortRef, Probe};
use crate::runtime::{ContainerRef, ProbeAction, RuntimeAction};

/// While a container is not ready yet it is looked at at least this often, so that a pod serves as soon as it can; its
/// own period counts once it is.
const EAGER_PERIOD: Duration = Duration::from_secs(1);

/// What a probe's answer came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing new.
    Same,
    /// Enough successes or failures in a row: what is known of the container changed.
    Changed,
    /// It must be restarted; for this reason.
    Kill(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

#[derive(Debug, Clone)]
struct Prober {
    kind: Kind,
    probe: Probe,
    action: ProbeAction,
    /// What enough answers in a row have said.
    holds: bool,
    successes: u32,
    failures: u32,
    next: Instant,
    in_flight: Option<(u64, Instant)>,
}

/// The probes of one running container.
#[derive(Debug, Clone, Default)]
pub(super) struct Probes {
    probers: Vec<Prober>,
    /// Why the last readiness probe failed, for an event.
    pub(super) complaint: Option<String>,
    /// How long the container may take to end because of the probe that failed, if the probe says so.
    pub(super) grace: Option<Duration>,
    /// Whether it was not ready when it was last heard of, and nothing is known of its probes.
    unready: bool,
}

impl Probes {
    /// Those of a container that started at `since`. One that was found running keeps what was known of it, and its first
    /// look is spread over a period by `spread` (0 to 1), so that a restarted agent does not look at everything at once.
    pub(super) fn start(container: &Container, since: Instant, known_ready: bool, spread: f64) -> Self {
        let probers = [
            (Kind::Startup, &container.startup_probe),
            (Kind::Liveness, &container.liveness_probe),
            (Kind::Readiness, &container.readiness_probe),
        ];
        let prober = |(kind, probe): (Kind, &Option<Probe>)| {
            let probe = probe.clone()?;
            let delay = Duration::from_secs(u64::from(probe.initial_delay_seconds()));
            let later = Duration::from_secs(u64::from(probe.period_seconds())).mul_f64(spread.clamp(0.0, 1.0));
            Some(Prober {
                kind,
                action: action_of(&probe, container),
                holds: known_ready || kind == Kind::Liveness,
                successes: 0,
                failures: 0,
                next: since + delay + if known_ready { later } else { Duration::ZERO },
                in_flight: None,
                probe,
            })
        };
        Probes { probers: probers.into_iter().filter_map(prober).collect(), ..Probes::default() }
    }

    /// Those of a container that was found and of which only its last readiness is known.
    pub(super) fn unknown(known_ready: bool) -> Self {
        Probes { unready: !known_ready, ..Probes::default() }
    }

    /// Whether its startup is over.
    pub(super) fn started(&self) -> bool {
        self.holds(Kind::Startup)
    }

    /// Whether it is ready to serve, as far as probes say.
    pub(super) fn ready(&self) -> bool {
        !self.unready && self.started() && self.holds(Kind::Readiness)
    }

    /// Asks for the looks that are due.
    pub(super) fn look(&mut self, id: &ContainerRef, ctx: &mut Context<'_>) {
        let started = self.started();
        for prober in &mut self.probers {
            let waits = (prober.kind == Kind::Startup) == started;
            if waits || prober.in_flight.is_some() {
                continue;
            }
            if prober.next > ctx.now.mono {
                ctx.wake_at(prober.next);
                continue;
            }
            let token = ctx.token();
            prober.in_flight = Some((token, ctx.now.mono));
            let timeout = Duration::from_secs(u64::from(prober.probe.timeout_seconds()));
            let action = prober.action.clone();
            ctx.act(RuntimeAction::Probe { id: id.clone(), token, action, timeout, is_hook: false });
        }
    }

    /// Takes an answer. One to a question that was not asked counts for nothing.
    pub(super) fn answer(&mut self, now: Instant, token: u64, result: Result<(), String>) -> Finding {
        let asked = |prober: &&mut Prober| prober.in_flight.is_some_and(|(own, _)| own == token);
        let Some(prober) = self.probers.iter_mut().find(asked) else { return Finding::Same };
        let at = prober.in_flight.take().map_or(now, |(_, at)| at);
        let before = prober.holds;
        match result {
            Ok(()) => {
                (prober.successes, prober.failures) = (prober.successes.saturating_add(1), 0);
                prober.holds |= prober.successes >= prober.probe.success_threshold();
            }
            Err(why) => {
                (prober.successes, prober.failures) = (0, prober.failures.saturating_add(1));
                if prober.failures >= prober.probe.failure_threshold() {
                    // Once more after this many, should the kill not succeed.
                    prober.failures = 0;
                    prober.schedule(now, at);
                    if prober.kind != Kind::Readiness {
                        self.grace = prober.probe.grace_seconds().map(|seconds| Duration::from_secs(seconds.into()));
                        return Finding::Kill(format!("{} probe failed: {why}", prober.kind.name()));
                    }
                    prober.holds = false;
                    if before {
                        self.complaint = Some(format!("Readiness probe failed: {why}"));
                        return Finding::Changed;
                    }
                    return Finding::Same;
                }
            }
        }
        prober.schedule(now, at);
        if prober.holds == before { Finding::Same } else { Finding::Changed }
    }

    fn holds(&self, kind: Kind) -> bool {
        self.probers.iter().find(|prober| prober.kind == kind).is_none_or(|prober| prober.holds)
    }
}

impl Prober {
    fn schedule(&mut self, now: Instant, asked: Instant) {
        let period = Duration::from_secs(u64::from(self.probe.period_seconds()));
        let period = if self.holds { period } else { period.min(EAGER_PERIOD) };
        // The period runs from question to question, but a slow answer is not followed by the next question at once.
        self.next = (asked + period).max(now + period / 10);
    }
}

/// A probe in the runtime's words; ports by name are looked up in the container.
pub(super) fn action_of(probe: &Probe, container: &Container) -> ProbeAction {
    let port = |port: &PortRef| match port {
        PortRef::Number(number) => *number,
        // Port 0 is never open: a name that the container does not have fails as a probe.
        PortRef::Name(name) => {
            container.ports.iter().find(|port| port.name == *name).map_or(0, |port| port.container_port)
        }
    };
    let host = |host: &String| (!host.is_empty()).then(|| host.clone());
    if let Some(get) = &probe.http_get {
        return ProbeAction::HttpGet {
            host: host(&get.host),
            port: port(&get.port),
            path: if get.path.is_empty() { "/".to_owned() } else { get.path.clone() },
            https: get.scheme.eq_ignore_ascii_case("https"),
            headers: get.http_headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
        };
    }
    if let Some(tcp) = &probe.tcp_socket {
        return ProbeAction::TcpSocket { host: host(&tcp.host), port: port(&tcp.port) };
    }
    if let Some(grpc) = &probe.grpc {
        return ProbeAction::Grpc { port: grpc.port, service: grpc.service.clone() };
    }
    ProbeAction::Exec(probe.exec.as_ref().map(|exec| exec.command.clone()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::agent::fake::with_context;
    use serde::Deserialize;
    use serde_json::json;

    fn probes(json: serde_json::Value) -> Probes {
        Probes::start(&Container::deserialize(json).unwrap(), Instant::ZERO, false, 0.0)
    }

    fn id() -> ContainerRef {
        ContainerRef { uid: "u".into(), container: "c".into(), attempt: 0 }
    }

    /// Looks at `at_ms` and answers; the token of the look, if there was one.
    fn look_and_answer(probes: &mut Probes, at_ms: u64, result: Result<(), String>) -> Option<Finding> {
        let mut actions = Vec::new();
        with_context(at_ms, &mut actions, |ctx| probes.look(&id(), ctx));
        let token = actions.iter().find_map(|action| match action {
            RuntimeAction::Probe { token, .. } => Some(*token),
            _ => None,
        })?;
        Some(probes.answer(Instant::from_millis(at_ms), token, result))
    }

    #[test]
    fn a_container_becomes_ready_after_its_delay_and_unready_after_enough_failures() {
        let mut probes = probes(json!({"readinessProbe": {
            "tcpSocket": {"port": 80}, "initialDelaySeconds": 2, "periodSeconds": 5, "failureThreshold": 2}}));
        assert!(!probes.ready());
        assert_eq!(look_and_answer(&mut probes, 1999, Ok(())), None);
        assert_eq!(look_and_answer(&mut probes, 2000, Err("refused".into())), Some(Finding::Same));
        assert_eq!(look_and_answer(&mut probes, 3000, Ok(())), Some(Finding::Changed), "eager until it is ready");
        assert!(probes.ready());
        assert_eq!(look_and_answer(&mut probes, 7999, Ok(())), None, "then its own period");
        assert_eq!(look_and_answer(&mut probes, 8000, Err("refused".into())), Some(Finding::Same));
        assert_eq!(look_and_answer(&mut probes, 13_000, Err("refused".into())), Some(Finding::Changed));
        assert!(!probes.ready());
    }

    #[test]
    fn other_probes_wait_for_the_startup_probe() {
        let mut probes = probes(json!({
            "startupProbe": {"exec": {"command": ["true"]}, "failureThreshold": 1},
            "livenessProbe": {"exec": {"command": ["true"]}, "failureThreshold": 1}}));
        assert!(!probes.started() && !probes.ready());
        assert_eq!(look_and_answer(&mut probes, 0, Ok(())), Some(Finding::Changed));
        assert!(probes.started() && probes.ready());
        assert!(matches!(look_and_answer(&mut probes, 0, Err("no".into())), Some(Finding::Kill(_))));
    }

    #[test]
    fn an_answer_that_nobody_asked_for_counts_for_nothing() {
        let mut probes = probes(json!({"readinessProbe": {"tcpSocket": {"port": 80}}}));
        assert_eq!(probes.answer(Instant::ZERO, 77, Ok(())), Finding::Same);
        assert!(!probes.ready());
    }

    #[test]
    fn a_named_port_is_the_containers_own() {
        let container = Container::deserialize(json!({
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"port": "http", "scheme": "HTTPS"}}}))
        .unwrap();
        let action = action_of(container.readiness_probe.as_ref().unwrap(), &container);
        assert!(matches!(action, ProbeAction::HttpGet { port: 8080, https: true, host: None, .. }));
    }

    #[test]
    fn a_grpc_probe_asks_the_pod_about_a_service_or_about_all_of_it() {
        let action = |probe: serde_json::Value| {
            let container = Container::deserialize(json!({"livenessProbe": probe})).unwrap();
            action_of(container.liveness_probe.as_ref().unwrap(), &container)
        };
        let of = |service: &str| ProbeAction::Grpc { port: 7000, service: service.to_owned() };
        assert_eq!(action(json!({"grpc": {"port": 7000, "service": "cart"}})), of("cart"));
        assert_eq!(action(json!({"grpc": {"port": 7000, "service": null}})), of(""));
    }
}
