"""Laws of scope sets, for scopes nobody thought of."""

from hypothesis import given
from hypothesis import strategies as st

from perijove.domain.scope_table import SCOPES
from perijove.domain.scopes import Catalogue, Owner, ScopeSet, parse

ALL = Catalogue()
OWNER = Owner(kind="user", name="ann")
USERS = ["ann", "ben", "cy=d!e"]
GROUPS = ["g", "h"]

filters = st.one_of(
    st.just(""),
    st.sampled_from(USERS).map("!user={}".format),
    st.sampled_from(GROUPS).map("!group={}".format),
    st.tuples(st.sampled_from(USERS), st.sampled_from(["", "gpu"])).map(lambda s: f"!server={s[0]}/{s[1]}"),
)
scopes = st.tuples(st.sampled_from(sorted(SCOPES)), filters).map("".join)
sets = st.lists(scopes, max_size=5).map(lambda texts: ScopeSet(ALL.expand(texts, OWNER)))
membership = st.fixed_dictionaries({user: st.lists(st.sampled_from(GROUPS), unique=True) for user in USERS})
concrete = scopes.filter(lambda text: parse(text).kind in {"", "user", "server"})


@given(sets, membership)
def test_a_set_intersected_with_itself_is_itself(a, groups):
    assert a.intersect(a, groups) == a


@given(sets, sets, membership)
def test_intersection_commutes(a, b, groups):
    assert a.intersect(b, groups) == b.intersect(a, groups)


@given(sets, sets, concrete, membership)
def test_what_both_hold_each_holds(a, b, wanted, groups):
    """No intersection grants what one side lacks: a token never exceeds its owner."""
    if a.intersect(b, groups).covers(wanted, groups):
        assert a.covers(wanted, groups)
        assert b.covers(wanted, groups)


@given(sets, concrete, membership)
def test_holding_everything_of_a_base_is_holding_each(a, wanted, groups):
    base = parse(wanted).base
    if a.covers(base, groups):
        assert a.covers(wanted, groups)


@given(st.lists(scopes, max_size=5))
def test_expanding_again_adds_nothing(texts):
    once = ALL.expand(texts, OWNER)
    assert ScopeSet(ALL.expand(once, OWNER)) == ScopeSet(once)


@given(sets)
def test_texts_are_enough_to_make_the_set_again(a):
    assert ScopeSet(a.texts()) == a
