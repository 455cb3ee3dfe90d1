//! Histories made by hand: a clean one in which everything that is excused happens, and for each promise the ways to break it.
//! They show that the judge can say no.

#![allow(clippy::unwrap_used)]

use super::{History, Limits};
use crate::history::entry::{Answer, Ask, Begun, Fault, Fields, Final, Line, Object, Objects, Op, Running};

const MAP: &str = "configmaps/a";
const WEB: &str = "deployments/web";
const LIFE: &str = "life-1";

/// A history of two peers, to which each test adds.
struct Made {
    history: History,
    next: u64,
}

impl Made {
    /// A map and a workload are created, read and written at both peers; one more replica is asked for; all is as asked.
    fn clean() -> Self {
        let mut this = Self { history: History::default(), next: 0 };
        this.line(Line::Begun(Begun { seed: 0, hosts: 2, runtime: "process".to_owned() }));
        this.op(1, (0, 10), Ask::Create, MAP, &[("data.k", "v0")]);
        this.op(1, (11, 20), Ask::Create, WEB, &[("spec.replicas", "2")]);
        this.op(2, (100, 110), Ask::Set, MAP, &[("data.k", "v1")]);
        this.op(2, (120, 130), Ask::Set, WEB, &[("spec.replicas", "3")]);
        this.op(2, (140, 150), Ask::Read, MAP, &[("data.k", "v1")]);
        let objects = Objects::from([
            (MAP.to_owned(), object(LIFE, &[("data.k", "v1")])),
            (WEB.to_owned(), object(LIFE, &[("spec.replicas", "3")])),
        ]);
        for peer in [1, 2] {
            this.line(Line::Final(Final { peer, objects: objects.clone(), hash: "same".to_owned() }));
            let running = Running { workload: "web".to_owned(), host: peer, count: peer };
            this.line(Line::Running(running));
        }
        this.line(Line::Ended { at: 1000, settled_after: Some(100) });
        this
    }

    fn line(&mut self, line: Line) {
        self.history.add(line);
    }

    /// Adds an operation that was done. The result may be changed to what became of it instead.
    fn op(
        &mut self,
        peer: usize,
        (start, end): (u64, u64),
        ask: Ask,
        object: &str,
        fields: &[(&str, &str)],
    ) -> &mut Op {
        self.next += 1;
        self.history.ops.push(Op {
            id: self.next,
            client: format!("c-{peer}"),
            peer,
            start,
            end,
            ask,
            object: object.to_owned(),
            fields: fields_of(fields),
            uid: LIFE.to_owned(),
            answer: Answer::Ok,
            code: 200,
            detail: String::new(),
        });
        self.history.ops.last_mut().unwrap()
    }

    fn fault(&mut self, host: usize, (start, end): (u64, u64), down: bool) {
        self.line(Line::Fault(Fault { what: "made".to_owned(), hosts: vec![host], down, lost: false, start, end }));
    }

    /// Changes what all peers hold in the end.
    fn end_with(&mut self, name: &str, held: Option<&Object>) {
        for end in &mut self.history.finals {
            match held {
                Some(object) => drop(end.objects.insert(name.to_owned(), object.clone())),
                None => drop(end.objects.remove(name)),
            }
        }
    }

    /// The beginnings of the promises that are found broken.
    fn broken(&self) -> Vec<String> {
        // Written and read again, as a history that is judged later would be.
        let mut lines: Vec<Line> = self.history.begun.clone().map(Line::Begun).into_iter().collect();
        lines.extend(self.history.ops.iter().cloned().map(Line::Op));
        lines.extend(self.history.faults.iter().cloned().map(Line::Fault));
        lines.extend(self.history.finals.iter().cloned().map(Line::Final));
        lines.extend(self.history.running.iter().cloned().map(Line::Running));
        lines.extend(self.history.ended.map(|(at, settled_after)| Line::Ended { at, settled_after }));
        let text: Vec<String> = lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        let read = History::read(&text.join("\n")).unwrap();
        let verdicts = read.judge(Limits { unserved_ms: 500, recovery_ms: 50 });
        let broken = verdicts.iter().filter(|verdict| !verdict.held());
        broken.map(|verdict| verdict.promise.split(' ').next().unwrap().to_owned()).collect()
    }
}

fn fields_of(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn object(uid: &str, fields: &[(&str, &str)]) -> Object {
    Object { uid: uid.to_owned(), fields: fields_of(fields) }
}

fn refuse(op: &mut Op, code: u16) {
    op.answer = Answer::Refused;
    op.code = code;
    op.uid.clear();
}

fn lose(op: &mut Op) {
    op.answer = Answer::Unknown;
    op.code = 0;
    op.uid.clear();
}

#[test]
fn a_clean_history_is_clean() {
    assert_eq!(Made::clean().broken(), [""; 0]);
}

#[test]
fn a_history_that_was_cut_short_shows_nothing() {
    let mut made = Made::clean();
    made.history.ended = None;
    assert_eq!(made.broken(), ["the"]);
    let mut made = Made::clean();
    made.history.ops.retain(|op| op.peer != 2);
    assert!(made.broken().contains(&"the".to_owned()));
}

#[test]
fn a_peer_that_was_lost_for_good_is_not_read_and_its_writes_are_sought_elsewhere() {
    let mut made = Made::clean();
    made.history.finals.truncate(1);
    assert_eq!(made.broken(), ["the"]);
    made.fault(2, (160, 1000), true);
    made.history.faults[0].lost = true;
    assert_eq!(made.broken(), [""; 0]);
    made.end_with(MAP, Some(&object(LIFE, &[("data.k", "v0")])));
    assert_eq!(made.broken(), ["P2"]);
}

#[test]
fn a_peer_that_was_lost_for_good_owes_nothing_however_long_its_clients_go_on() {
    let mut made = Made::clean();
    made.fault(2, (300, 400), true);
    made.history.faults[0].lost = true;
    made.history.finals.pop();
    refuse(made.op(2, (950, 951), Ask::Set, MAP, &[("data.x", "v9")]), 0);
    assert_eq!(made.broken(), [""; 0]);
    made.history.faults[0].lost = false;
    assert_eq!(made.broken(), ["the", "P1", "P4"]);
}

#[test]
fn p1_a_peer_that_runs_and_serves_no_write_is_found() {
    let mut made = Made::clean();
    made.fault(1, (20, 900), false);
    lose(made.op(1, (30, 430), Ask::Set, MAP, &[("data.x", "lost-1")]));
    lose(made.op(1, (431, 831), Ask::Set, MAP, &[("data.x", "lost-2")]));
    assert_eq!(made.broken(), ["P1"]);
}

#[test]
fn p1_a_peer_that_is_down_owes_nothing() {
    let mut made = Made::clean();
    made.fault(1, (30, 800), true);
    refuse(made.op(1, (400, 401), Ask::Set, MAP, &[("data.x", "never")]), 0);
    made.op(1, (850, 860), Ask::Set, MAP, &[("data.y", "v9")]);
    made.end_with(MAP, Some(&object(LIFE, &[("data.k", "v1"), ("data.y", "v9")])));
    assert_eq!(made.broken(), [""; 0]);
}

#[test]
fn p2_an_acknowledged_write_that_is_gone_is_found() {
    // The older value is back.
    let mut made = Made::clean();
    made.end_with(MAP, Some(&object(LIFE, &[("data.k", "v0")])));
    assert_eq!(made.broken(), ["P2"]);
    // The field is gone.
    let mut made = Made::clean();
    made.end_with(MAP, Some(&object(LIFE, &[])));
    assert_eq!(made.broken(), ["P2"]);
    // The object is gone, and nobody deleted it, or a deletion was refused.
    let mut made = Made::clean();
    made.end_with(MAP, None);
    assert_eq!(made.broken(), ["P2"]);
    refuse(made.op(1, (200, 210), Ask::Delete, MAP, &[]), 403);
    assert!(made.broken().contains(&"P2".to_owned()));
}

#[test]
fn p2_a_value_that_nobody_wrote_or_that_was_refused_is_found() {
    let mut made = Made::clean();
    made.end_with(MAP, Some(&object(LIFE, &[("data.k", "v1"), ("data.z", "nobody's")])));
    assert_eq!(made.broken(), ["P2"]);
    refuse(made.op(1, (200, 210), Ask::Set, MAP, &[("data.z", "nobody's")]), 409);
    assert_eq!(made.broken(), ["P2"]);
}

#[test]
fn p2_later_concurrent_unknown_and_warned_writes_are_excused() {
    let mut made = Made::clean();
    // Overlaps the write of v1.
    made.op(1, (105, 300), Ask::Set, MAP, &[("data.k", "v2")]);
    for end in ["v1", "v2"] {
        made.end_with(MAP, Some(&object(LIFE, &[("data.k", end)])));
        assert_eq!(made.broken(), [""; 0], "{end}");
    }
    // Later than both, and nobody knows whether it was done, or when.
    lose(made.op(1, (310, 400), Ask::Set, MAP, &[("data.k", "v3")]));
    made.op(2, (450, 460), Ask::Set, MAP, &[("data.k", "v4")]);
    made.history.faults.push(Fault {
        what: String::new(),
        hosts: vec![1],
        down: false,
        lost: false,
        start: 300,
        end: 410,
    });
    for end in ["v3", "v4"] {
        made.end_with(MAP, Some(&object(LIFE, &[("data.k", end)])));
        assert_eq!(made.broken(), [""; 0], "{end}");
    }
    // One disk had it, and the answer said so.
    made.op(1, (500, 510), Ask::Set, MAP, &[("data.k", "v5")]).answer = Answer::Warned;
    assert_eq!(made.broken(), [""; 0]);
}

#[test]
fn p2_a_peer_that_does_not_show_what_was_written_at_it_is_found() {
    let mut made = Made::clean();
    made.op(2, (160, 170), Ask::Read, MAP, &[("data.k", "v0")]);
    assert_eq!(made.broken(), ["P2"]);
    let mut made = Made::clean();
    refuse(made.op(2, (160, 170), Ask::Read, MAP, &[]), 404);
    assert_eq!(made.broken(), ["P2"]);
    // Another peer may not know of it yet.
    let mut made = Made::clean();
    made.op(1, (160, 170), Ask::Read, MAP, &[("data.k", "v0")]);
    assert_eq!(made.broken(), [""; 0]);
}

#[test]
fn p3_peers_that_hold_different_things_are_found() {
    let mut made = Made::clean();
    made.history.finals[1].objects.get_mut(MAP).unwrap().uid = "life-2".to_owned();
    assert!(made.broken().contains(&"P3".to_owned()));
    let mut made = Made::clean();
    made.history.finals[1].hash = "another".to_owned();
    assert_eq!(made.broken(), ["P3"]);
}

#[test]
fn p4_a_call_that_fails_while_something_happens_to_another_is_found() {
    let mut made = Made::clean();
    made.fault(1, (200, 300), false);
    lose(made.op(2, (210, 240), Ask::Read, MAP, &[]));
    assert_eq!(made.broken(), ["P4"]);
    // At the peer that it happened to it may, and shortly after.
    for at in [210, 320] {
        let mut made = Made::clean();
        made.fault(1, (200, 300), false);
        lose(made.op(1, (at, at + 10), Ask::Read, MAP, &[]));
        assert_eq!(made.broken(), [""; 0], "{at}");
    }
    // That something is there already is an answer.
    let mut made = Made::clean();
    refuse(made.op(2, (210, 220), Ask::Create, MAP, &[("data.k", "again")]), 409);
    assert_eq!(made.broken(), [""; 0]);
}

#[test]
fn p5_too_many_and_too_few_containers_are_found() {
    for count in [0, 1, 3] {
        let mut made = Made::clean();
        made.history.running[1].count = count;
        assert_eq!(made.broken(), ["P5"], "{count}");
    }
    // Of what is deleted none may run.
    let mut made = Made::clean();
    made.op(1, (200, 210), Ask::Delete, WEB, &[]);
    made.end_with(WEB, None);
    assert_eq!(made.broken(), ["P5"]);
    made.history.running.iter_mut().for_each(|running| running.count = 0);
    assert_eq!(made.broken(), [""; 0]);
}

#[test]
fn p5_what_was_deleted_and_is_there_is_found() {
    // The same life.
    let mut made = Made::clean();
    made.op(1, (200, 210), Ask::Delete, MAP, &[]);
    assert_eq!(made.broken(), ["P5"]);
    // Another one that nobody made: the only creation was long known.
    let mut made = Made::clean();
    made.op(1, (9000, 9010), Ask::Delete, MAP, &[]);
    made.op(1, (9011, 9012), Ask::Set, WEB, &[("data.x", "y")]).answer = Answer::Warned;
    made.end_with(MAP, Some(&object("life-2", &[("data.k", "v1")])));
    assert!(made.broken().contains(&"P5".to_owned()));
    // Read again at the peer that deleted it.
    let mut made = Made::clean();
    made.op(1, (200, 210), Ask::Delete, MAP, &[]);
    made.op(1, (220, 230), Ask::Read, MAP, &[("data.k", "v1")]);
    made.end_with(MAP, None);
    assert_eq!(made.broken(), ["P5"]);
}

#[test]
fn p5_what_was_created_again_or_was_not_seen_by_the_deleter_may_be_there() {
    let mut made = Made::clean();
    made.op(1, (200, 210), Ask::Delete, MAP, &[]);
    made.op(2, (300, 310), Ask::Create, MAP, &[("data.k", "v7")]).uid = "life-2".to_owned();
    made.end_with(MAP, Some(&object("life-2", &[("data.k", "v7")])));
    assert_eq!(made.broken(), [""; 0]);
    // Created on one side of a cut, deleted on the other, which knew an earlier creation of that name.
    let mut made = Made::clean();
    made.fault(2, (30, 500), false);
    made.op(2, (40, 50), Ask::Create, "configmaps/b", &[("data.k", "v8")]);
    made.op(1, (400, 410), Ask::Delete, "configmaps/b", &[]);
    made.end_with("configmaps/b", Some(&object("life-2", &[("data.k", "v8")])));
    assert_eq!(made.broken(), [""; 0]);
}
