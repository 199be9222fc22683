package limit

import (
	"time"

	"rolecredential.dev/operator/controllers/request"
)

// share counts the calls in flight of some identities, and the reserved ones.
type share struct {
	used    int
	blocked map[*identity]struct{} // to serve once a slot is free
}

// bound is the most slots that a share may use.
type bound struct {
	share request.Key
	most  int
}

// bounds returns the shares that the calls of an identity count in.
//
// The author of an Identity chooses its endpoint, and so how long a call hangs. The Identities of one namespace use at most a quarter of
// the slots, and the Identities of all namespaces half of them. One ClusterIdentity uses at most three quarters.
func (l *Limiter) bounds(id *identity) []bound {
	fraction := func(quarters int) int { return max(1, l.Slots*quarters/4) }
	own, all := id.Key, bound{most: l.Slots}
	if own.Namespace == "" {
		return []bound{{own, fraction(3)}, all}
	}
	own.Name = ""
	return []bound{{own, fraction(1)}, {request.Key{Kind: own.Kind}, fraction(2)}, all}
}

// full returns a share without a free slot for an identity, nil if there is none.
func (l *Limiter) full(id *identity) *share {
	for _, b := range id.bounds {
		if s, ok := l.shares[b.share]; ok && s.used >= b.most {
			return s
		}
	}
	return nil
}

func (l *Limiter) acquireSlots(id *identity) {
	id.inFlight++
	for _, b := range id.bounds {
		if l.shares[b.share] == nil {
			l.shares[b.share] = &share{blocked: map[*identity]struct{}{}}
		}
		l.shares[b.share].used++
	}
}

// releaseSlots frees the slots of a call and serves the identities that wait for them. A share without calls is dropped: names that are no
// longer used take no memory.
func (l *Limiter) releaseSlots(now time.Time, id *identity) {
	id.inFlight--
	for _, b := range id.bounds {
		l.shares[b.share].used--
	}
	for _, b := range id.bounds {
		s := l.shares[b.share]
		for blocked := range s.blocked {
			if s.used >= b.most {
				break
			}
			delete(s.blocked, blocked)
			l.serve(now, blocked)
		}
		if s.used == 0 && len(s.blocked) == 0 {
			delete(l.shares, b.share)
		}
	}
}
