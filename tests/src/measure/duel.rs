//! Two orchestrators on the same hosts, the same engines and the same image, one after the other, several times over: how soon
//! each deploys, comes back from cuts, and updates. Skein's side lives in `skein`, Docker Swarm's in `swarm`, what is done to
//! both in `round`.

use std::collections::BTreeMap;

use self::round::Metric;
use self::skein::Skein;
use self::swarm::Swarm;
use super::bars;
use super::figures::{Figures, ratio, short, table};
use crate::failure::{Failure, Outcome};
use crate::lab::Lab;
use crate::steps::say;

pub mod round;
pub mod skein;
pub mod swarm;

/// All hosts.
pub const HOSTS: [usize; 5] = [1, 2, 3, 4, 5];
/// How many replicas there are.
pub const REPLICAS: usize = 10;

/// A serving container: the host that it is on, and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The host's number.
    pub host: usize,
    /// Its address there.
    pub address: std::net::IpAddr,
}

/// What is measured: something that keeps replicas of a web server running on five hosts, and takes small objects.
pub trait Orchestrator: Sync + Sized {
    /// What it is called.
    const NAME: &'static str;

    /// Makes one cluster of all hosts.
    ///
    /// # Errors
    /// When it does not form.
    fn form(lab: Lab) -> Outcome<Self>;

    /// Ends the cluster and leaves nothing of it on the hosts.
    ///
    /// # Errors
    /// When something stays.
    fn dissolve(self) -> Outcome<Lab>;

    /// The hosts.
    fn lab(&self) -> &Lab;

    /// Asks for the replicas; returns when that was taken.
    ///
    /// # Errors
    /// When it is refused.
    fn deploy(&self) -> Outcome<()>;

    /// Takes all of them away; returns when that was taken.
    ///
    /// # Errors
    /// When it is refused.
    fn remove(&self) -> Outcome<()>;

    /// Asks for another version of all replicas; returns when that was taken.
    ///
    /// # Errors
    /// When it is refused.
    fn update(&self) -> Outcome<()>;

    /// How many replicas run on `hosts`, of the first version and of the second, as the engines say.
    ///
    /// # Errors
    /// When an engine does not answer.
    fn running(&self, hosts: &[usize]) -> Outcome<[usize; 2]>;

    /// Where it says that requests may go, asked at one of `hosts`.
    ///
    /// # Errors
    /// When it does not answer.
    fn endpoints(&self, at: usize) -> Outcome<Vec<Endpoint>>;

    /// Who leads, asked at a host.
    ///
    /// # Errors
    /// When it knows of nobody.
    fn leader(&self, at: usize) -> Outcome<usize>;

    /// Writes a small new object at a host, once.
    ///
    /// # Errors
    /// When it is refused, or not acknowledged within three seconds.
    fn write(&self, at: usize, name: &str) -> Outcome<()>;
}

/// The figures of both sides.
#[derive(Debug, Default)]
pub struct Results {
    sides: BTreeMap<&'static str, BTreeMap<Metric, Figures>>,
}

/// Runs both in turn, so many times.
///
/// # Errors
/// When a lab cannot be built, or a cluster does not form. What a side cannot do in time is a figure, not an error.
pub fn run(runs: usize) -> Outcome<Results> {
    let mut results = Results::default();
    let mut lab = Lab::with_engines(HOSTS.len())?;
    for number in 1..=runs {
        // Whoever comes second may find the machine warmer, so the order changes.
        if number % 2 == 1 {
            lab = results.side::<Swarm>(lab, number)?;
            lab = results.side::<Skein>(lab, number)?;
        } else {
            lab = results.side::<Skein>(lab, number)?;
            lab = results.side::<Swarm>(lab, number)?;
        }
    }
    Ok(results)
}

impl Results {
    fn side<O: Orchestrator>(&mut self, lab: Lab, number: usize) -> Outcome<Lab> {
        say(&format!("-- run {number}: {}", O::NAME));
        let side = O::form(lab)?;
        for (metric, figure) in round::play(&side)? {
            self.sides.entry(O::NAME).or_default().entry(metric).or_default().add(figure);
        }
        side.dissolve()
    }

    /// A table: median, range and ratio of each metric.
    pub fn table(&self) -> String {
        let cell = |figures: &Figures| {
            format!("{} ({} to {})", short(figures.median()), short(figures.least()), short(figures.greatest()))
        };
        let rows: Vec<Vec<String>> = Metric::ALL
            .iter()
            .map(|metric| {
                let [ours, other] = [Skein::NAME, Swarm::NAME].map(|side| self.figures(side, *metric));
                vec![metric.words().to_owned(), cell(&ours), cell(&other), ratio(other.median(), ours.median())]
            })
            .collect();
        table(&["median (range)", Skein::NAME, Swarm::NAME, "ratio"], &rows)
    }

    /// A picture of the same.
    pub fn picture(&self) -> String {
        let groups: Vec<bars::Group> = Metric::ALL
            .iter()
            .filter(|metric| metric.is_a_time())
            .map(|metric| bars::Group {
                title: metric.words(),
                bars: [Skein::NAME, Swarm::NAME].map(|side| self.figures(side, *metric)).to_vec(),
            })
            .collect();
        bars::svg("seconds, median of the runs; the line is their range", &[Skein::NAME, Swarm::NAME], &groups)
    }

    fn figures(&self, side: &str, metric: Metric) -> Figures {
        self.sides.get(side).and_then(|figures| figures.get(&metric)).cloned().unwrap_or_default()
    }
}

/// The host of a name such as `h3`.
fn host_of(lab: &Lab, name: &str) -> Outcome<usize> {
    let host = lab.hosts().iter().find(|host| host.name == name);
    host.map(|host| host.number).ok_or_else(|| Failure::new(format!("no host is called {name:?}")))
}
