//! Sets of small numbers that stand for kids.

/// A kid: the number of a key pair that was drawn. [`NOBODY`] is none.
pub(crate) type Kid = u8;

pub(crate) const NOBODY: Kid = 0;

/// As many kids as can be around at once.
pub(crate) const MOST_KIDS: u8 = 15;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Kids(u16);

impl Kids {
    pub(crate) const ALL: Self = Self(u16::MAX - 1);

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn contains(self, kid: Kid) -> bool {
        self.0 & bit(kid) != 0
    }

    pub(crate) fn insert(&mut self, kid: Kid) {
        self.0 |= bit(kid);
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Kid> {
        (1..=MOST_KIDS).filter(move |kid| self.contains(*kid))
    }

    /// Whether no number is left out.
    pub(crate) fn is_contiguous(self) -> bool {
        (self.0 >> 1).trailing_ones() == self.0.count_ones()
    }

    /// The number after the greatest.
    pub(crate) fn next(self) -> Kid {
        u8::try_from(u16::BITS - self.0.leading_zeros()).unwrap().max(1)
    }

    /// How many of the set are not above `kid`: its new number, which keeps the order.
    pub(crate) fn rank(self, kid: Kid) -> Kid {
        let not_above = self.0 & (u16::MAX >> (MOST_KIDS - kid.min(MOST_KIDS)));
        if kid == NOBODY { NOBODY } else { u8::try_from(not_above.count_ones()).unwrap() }
    }
}

impl FromIterator<Kid> for Kids {
    fn from_iter<I: IntoIterator<Item = Kid>>(kids: I) -> Self {
        let mut set = Self::default();
        kids.into_iter().for_each(|kid| set.insert(kid));
        set
    }
}

fn bit(kid: Kid) -> u16 {
    (1 << kid) & !1
}
