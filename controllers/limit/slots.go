package limit

import "rolecredential.dev/operator/controllers/request"

// slots counts the calls in flight and the reserved ones.
type slots struct {
	total       int
	byIdentity  map[request.Key]int
	byNamespace map[string]int
}

// has reports whether an identity may start a call for a credential of a namespace, with at most a number of calls in flight.
func (s *slots) has(limit int, identity request.Key, namespace string) bool {
	share := max(1, limit*3/4)
	return s.total < limit && s.byIdentity[identity] < share && s.byNamespace[namespace] < share
}

func (s *slots) take(r Request) {
	if s.byIdentity == nil {
		s.byIdentity, s.byNamespace = map[request.Key]int{}, map[string]int{}
	}
	s.total++
	s.byIdentity[r.Identity]++
	s.byNamespace[r.Credential.Namespace]++
}

func (s *slots) free(r Request) {
	s.total--
	decrement(s.byIdentity, r.Identity)
	decrement(s.byNamespace, r.Credential.Namespace)
}

// decrement keeps no count that is zero, so that the maps do not grow with the names that were ever used.
func decrement[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}
