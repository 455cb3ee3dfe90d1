//! Disks that are lost while their node belongs to the cluster: its state is gone, its key and the file that names its cluster are not.

use skein_core::request::WriteError;
use skein_netsim::Script;
use skein_netsim::oracle::Answer;

/// Neither a founder nor anybody else begins a state of its own: what it said and voted for before is gone, not undone.
#[test]
fn a_member_that_lost_its_disk_decides_nothing_alone_and_hears_all_again() {
    for lost in 0..3 {
        let mut script = Script::new(3);
        let web = script.deploy(0, "web", 3, 1, "full");
        script.runs(&web, 3);
        script.configure(0, "settings", "x", 5);
        script.pass(3_000);
        let others: Vec<usize> = (0..3).filter(|host| *host != lost).collect();
        script.world.power_off(lost);
        script.world.lose_disk(lost);
        script.cut(&[lost], &others);
        script.world.boot(lost);
        script.pass(15_000);
        let node = script.node(lost);
        assert!(node.has_lost_vote() && !node.leadership().mine && node.leadership().leader.is_none());
        assert!(node.store().members().active().is_empty(), "it knows nobody, and not itself");
        let refused = script.configure(lost, "settings", "x", 6);
        script.pass(1_000);
        assert!(matches!(script.answer(refused), Some(Answer::Refused(WriteError::Lost))));
        script.world.heal();
        script.until("it knows everybody", 20_000, |world| {
            world.hosts[lost].node.as_ref().is_some_and(|node| node.store().members().active().len() == 3)
        });
        script.until("its vote counts again", 20_000, |world| {
            world.hosts[lost].node.as_ref().is_some_and(|node| !node.has_lost_vote())
        });
        assert_eq!(script.configured(lost, "settings", "x"), Some(5));
        script.runs(&web, 3);
        script.settles();
    }
}

/// Its daemon alone was stopped, and its state moved away: what runs there runs on, though it does not know what it is.
#[test]
fn what_runs_outlives_the_loss_of_the_state() {
    let mut script = Script::new(3);
    let web = script.deploy(0, "web", 3, 1, "hold");
    let places = script.runs(&web, 3);
    script.pass(3_000);
    script.world.kill(0);
    script.world.lose_disk(0);
    let running =
        |script: &Script| script.world.hosts[0].engine.running().map(|info| info.id.clone()).collect::<Vec<_>>();
    let before = running(&script);
    assert!(!before.is_empty());
    assert_eq!(before.len(), places.iter().filter(|host| **host == 0).count());
    script.cut(&[0], &[1, 2]);
    script.world.boot(0);
    script.pass(20_000);
    assert_eq!(running(&script), before);
    script.world.heal();
    script.pass(20_000);
    assert_eq!(running(&script), before);
    script.settles();
}
