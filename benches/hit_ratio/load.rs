//! Requests to try caches on.

/// What is asked for, in order, and how large it is.
pub struct Load {
    pub name: &'static str,
    pub sizes: Vec<usize>,
    pub requests: Vec<u32>,
}

/// Hits of the second half of a load, in per cent of its requests and of its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Ratios {
    pub requests: f64,
    pub bytes: f64,
}

/// Objects that are popular by rank.
pub const OBJECTS: usize = 100_000;
pub const REQUESTS: usize = 500_000;
const EXPONENT: f64 = 0.9;
const SHAPE: f64 = 1.948;
const MEAN: f64 = 35_234.0;
const LARGEST: f64 = 1_048_576.0;

impl Load {
    /// Popularity stays as it is.
    pub fn stationary() -> Self {
        Self::new("stationary", 2, |_, _, object| object)
    }

    /// Ten times in the load, somebody walks through 16,000 objects that nobody asks for again, at four fifths of the
    /// requests.
    pub fn scanned() -> Self {
        let (mut next, mut left) = (OBJECTS as u32, 0);
        Self::new("with scans", 3, |n, random, object| {
            if n % 50_000 == 25_000 {
                left = 16_000;
            }
            if left == 0 || random.f64() > 0.8 {
                return object;
            }
            left -= 1;
            next += 1;
            next - 1
        })
    }

    /// Every fiftieth request a new object takes the place of one, the more probably the more popular that was.
    pub fn shifting() -> Self {
        let mut by_rank: Vec<u32> = (0..OBJECTS as u32).collect();
        let mut next = OBJECTS as u32;
        let rank = rank();
        Self::new("shifting", 4, move |n, random, object| {
            if n.is_multiple_of(50) {
                by_rank[rank(random) as usize] = next;
                next += 1;
            }
            by_rank[object as usize]
        })
    }

    fn new(
        name: &'static str,
        seed: u64,
        mut choose: impl FnMut(usize, &mut fastrand::Rng, u32) -> u32,
    ) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let rank = rank();
        let requests: Vec<u32> = (0..REQUESTS)
            .map(|n| {
                let object = rank(&mut random);
                choose(n, &mut random, object)
            })
            .collect();
        let objects = requests.iter().max().map_or(0, |last| *last as usize + 1);
        Self { name, sizes: sizes(objects.max(OBJECTS)), requests }
    }

    /// Of the objects that are there from the start.
    pub fn bytes(&self) -> usize {
        self.sizes[..OBJECTS].iter().sum()
    }

    pub fn run(&self, mut access: impl FnMut(usize) -> bool) -> Ratios {
        let mut tally = Tally::default();
        for (n, object) in self.requests.iter().enumerate() {
            let object = *object as usize;
            tally.add(n, self.sizes[object], access(object));
        }
        tally.ratios()
    }
}

#[derive(Default)]
pub struct Tally {
    /// Hits, and all.
    requests: [usize; 2],
    bytes: [usize; 2],
}

impl Tally {
    /// The first half of the requests warms the cache up.
    pub fn add(&mut self, n: usize, size: usize, hit: bool) {
        if n >= REQUESTS / 2 {
            self.requests[1] += 1;
            self.bytes[1] += size;
            if hit {
                self.requests[0] += 1;
                self.bytes[0] += size;
            }
        }
    }

    pub fn ratios(&self) -> Ratios {
        let ratio = |[hits, all]: [usize; 2]| hits as f64 * 100.0 / all.max(1) as f64;
        Ratios { requests: ratio(self.requests), bytes: ratio(self.bytes) }
    }
}

fn rank() -> impl Fn(&mut fastrand::Rng) -> u32 {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=OBJECTS)
        .map(|rank| {
            sum += (rank as f64).powf(-EXPONENT);
            sum
        })
        .collect();
    move |random| {
        let at = random.f64() * sum;
        cumulated.partition_point(|up_to| *up_to < at) as u32
    }
}

fn sizes(objects: usize) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(1);
    let middle = MEAN.ln() - SHAPE * SHAPE / 2.0;
    let mut size = || {
        let normal = (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
        (middle + SHAPE * normal).exp().clamp(64.0, LARGEST) as usize
    };
    (0..objects).map(|_| size()).collect()
}
