#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use skein_crdt_state::ClusterId;

use super::super::exchange::Joiner;
use super::*;

const MEMBER: NodeId = NodeId([2; 32]);
const LIFE: Duration = Duration::from_secs(600);

fn joiner(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn ends(n: u8) -> Ends {
    Ends { joiner: joiner(n), member: MEMBER, cluster: ClusterId([3; 16]) }
}

fn token() -> JoinToken {
    JoinToken { cluster: ClusterId([3; 16]), secret: [9; 16], role: TokenRole::Member, peers: Vec::new() }
}

struct World {
    invitations: Invitations,
    code: Code,
    now: Instant,
    sessions: u8,
}

/// An exchange that has begun, on the side of whoever joins.
struct Asking {
    session: SessionId,
    keys: Keys,
}

impl World {
    fn with(uses: u32) -> World {
        let mut invitations = Invitations::default();
        let now = Instant::now();
        let code = invitations.open(now, Offer { token: token(), uses }, LIFE, [42, 1, 2, 3, 4]).unwrap();
        World { invitations, code, now, sessions: 0 }
    }

    fn begin(&mut self, n: u8, code: Code) -> Result<Asking, Refusal> {
        self.sessions += 1;
        let session = SessionId([self.sessions; 16]);
        let (joiner, hello) = Joiner::new(&code, &ends(n));
        let began = self.invitations.begin(self.now, &ends(n), code.number(), session, &hello)?;
        Ok(Asking { session, keys: joiner.finish(&session, &began.hello).unwrap() })
    }

    fn prove(&mut self, n: u8, asking: &Asking) -> Result<JoinToken, Refusal> {
        let sealed = self.invitations.prove(self.now, joiner(n), asking.session, &asking.keys.proof())?;
        Ok(postcard::from_bytes(&asking.keys.take(&sealed).unwrap()).unwrap())
    }

    fn ask(&mut self, n: u8, code: Code) -> Result<JoinToken, Refusal> {
        let asking = self.begin(n, code)?;
        self.prove(n, &asking)
    }

    fn wrong(&self) -> Code {
        Code::new(self.code.number(), [0, 0, 0, 0])
    }

    fn standing(&mut self) -> Standing {
        self.invitations.standing(self.now, self.code.number()).unwrap()
    }
}

#[test]
fn whoever_has_the_code_is_given_the_token_and_only_as_many_as_were_invited() {
    let mut world = World::with(1);
    let code = world.code;
    assert_eq!(world.ask(1, code), Ok(token()));
    // Its admission failed, for its name was taken: it asks once more.
    assert_eq!(world.ask(1, code), Ok(token()));
    assert_eq!(world.ask(4, code), Err(Refusal::None));
    assert_eq!(world.standing().came, [joiner(1).short()]);
}

#[test]
fn three_wrong_guesses_end_an_invitation_and_are_told_once() {
    let mut world = World::with(5);
    let (code, wrong) = (world.code, world.wrong());
    for (n, tries_left) in [(1, 2), (4, 1), (1, 0)] {
        assert_eq!(world.ask(n, wrong), Err(Refusal::OtherCode { tries_left }));
    }
    assert_eq!(world.ask(5, code), Err(Refusal::None), "the right code counts no more");
    assert_eq!(world.standing().over, Some(Over::Guessed));
    assert_eq!(world.invitations.take_guessed(world.now), [(42, token())]);
    assert!(world.invitations.take_guessed(world.now).is_empty());
}

#[test]
fn a_guess_that_is_never_proved_counts_as_one() {
    let mut world = World::with(5);
    let (code, wrong) = (world.code, world.wrong());
    for _ in 0..3 {
        world.begin(1, wrong).unwrap();
    }
    // All tries are under way: a fourth would be one guess too many.
    assert_eq!(world.ask(4, code), Err(Refusal::Busy));
    assert_eq!(world.standing().over, None);
    world.now += SESSION_LIFE;
    assert_eq!(world.ask(4, code), Err(Refusal::None));
    assert_eq!(world.standing().over, Some(Over::Guessed));
}

#[test]
fn a_right_code_gives_no_try_away_and_wrong_ones_before_it_stay_counted() {
    let mut world = World::with(5);
    let (code, wrong) = (world.code, world.wrong());
    assert_eq!(world.ask(1, wrong), Err(Refusal::OtherCode { tries_left: 2 }));
    for n in 10..13 {
        assert_eq!(world.ask(n, code), Ok(token()));
    }
    assert_eq!(world.standing().tries_left, 2);
}

#[test]
fn messages_that_are_replayed_or_taken_over_by_another_node_bring_nothing() {
    let mut world = World::with(5);
    let code = world.code;
    let asking = world.begin(1, code).unwrap();
    assert_eq!(world.prove(4, &asking), Err(Refusal::NoSession), "another node has no part in it");
    assert_eq!(world.prove(1, &asking), Ok(token()));
    assert_eq!(world.prove(1, &asking), Err(Refusal::NoSession), "a session is over once it was used");
    // The hello of one exchange in another: the answer differs, and the old proof fits nowhere.
    let again = world.begin(1, code).unwrap();
    let stale = world.invitations.prove(world.now, joiner(1), again.session, &asking.keys.proof());
    assert_eq!(stale, Err(Refusal::OtherCode { tries_left: 2 }));
}

#[test]
fn a_code_of_another_cluster_or_for_another_member_is_a_wrong_one() {
    let mut world = World::with(5);
    for ends in [Ends { cluster: ClusterId([8; 16]), ..ends(1) }, Ends { member: NodeId([8; 32]), ..ends(1) }] {
        let session = SessionId([77; 16]);
        let (joining, hello) = Joiner::new(&world.code, &ends);
        let began = world.invitations.begin(world.now, &self::ends(1), 42, session, &hello).unwrap();
        let keys = joining.finish(&session, &began.hello).unwrap();
        let proved = world.invitations.prove(world.now, joiner(1), session, &keys.proof());
        assert!(matches!(proved, Err(Refusal::OtherCode { .. })), "{proved:?}");
    }
}

#[test]
fn an_invitation_ends_with_its_time_and_makes_room_for_others() {
    let mut world = World::with(1);
    let code = world.code;
    world.now += LIFE;
    assert_eq!(world.ask(1, code), Err(Refusal::None));
    assert_eq!(world.standing().over, Some(Over::Expired));
    let offer = || Offer { token: token(), uses: 1 };
    let mut numbers = BTreeSet::new();
    for _ in 0..MAX_INVITATIONS {
        numbers.insert(world.invitations.open(world.now, offer(), LIFE, [42; 5]).unwrap().number());
    }
    assert_eq!(numbers.len(), MAX_INVITATIONS, "no two have the same number");
    assert_eq!(world.invitations.open(world.now, offer(), LIFE, [42; 5]).unwrap_err(), Refusal::Busy);
}

proptest! {
    #[test]
    fn nothing_but_the_code_brings_the_token_and_nothing_more_than_three_guesses_is_answered(
        steps in prop::collection::vec((0u8..5, any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 0..40),
    ) {
        let mut world = World::with(5);
        let (mut answered, mut last) = (0, None);
        for (what, n, bytes) in steps {
            match what {
                0 => world.now += Duration::from_secs(u64::from(n)),
                1 => {
                    let session = SessionId([n; 16]);
                    answered += u8::from(world.invitations.begin(world.now, &ends(n), 42, session, &bytes).is_ok());
                    last = Some((n, session));
                }
                2 => {
                    let wrong = world.wrong();
                    if let Ok(asking) = world.begin(n, wrong) {
                        answered += 1;
                        last = Some((n, asking.session));
                    }
                }
                _ => {
                    let (of, session) = last.unwrap_or((n, SessionId([n; 16])));
                    prop_assert!(world.invitations.prove(world.now, joiner(of), session, &bytes).is_err());
                }
            }
            prop_assert!(answered <= TRIES);
        }
    }
}
