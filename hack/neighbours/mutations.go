package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"rolecredential.dev/operator/hack/mutation"
)

// readMutations reads the patches that each remove the fix of an attack. Their heads name the attack and a problem that it then has. Time is
// the duration of the attack, if it is not the default.
func readMutations(folder string) ([]mutation.Mutation, error) {
	return mutation.Read(folder, "Attack", "Problem")
}

// mutate makes each selected attack on an operator without the fix. It fails unless each has its problem.
func mutate(ctx context.Context, o options) error {
	mutations, err := readMutations(filepath.Join("hack", "neighbours", "mutations"))
	if err != nil {
		return err
	}
	var missed []string
	for _, mutated := range mutations {
		if !o.attacks.MatchString(mutated.Head["Attack"]) {
			continue
		}
		m, err := measureWithout(ctx, o, mutated)
		if err != nil {
			return fmt.Errorf("%s: %w", mutated.Name, err)
		}
		verdict := "DETECTED"
		if !slices.Contains(m.problems(), mutated.Head["Problem"]) {
			verdict, missed = "MISSED", append(missed, mutated.Name)
		}
		m.print(mutated.Name, fmt.Sprint(verdict, " ", m.problems()))
	}
	if len(missed) > 0 {
		return fmt.Errorf("attacks do not show the defects %v", missed)
	}
	return nil
}

// measureWithout makes the attack of a mutation.
func measureWithout(ctx context.Context, o options, mutated mutation.Mutation) (m measurement, err error) {
	i := slices.IndexFunc(attacks, func(a attack) bool { return a.name == mutated.Head["Attack"] })
	if i < 0 {
		return m, fmt.Errorf("there is no attack %s", mutated.Head["Attack"])
	}
	if text := mutated.Head["Time"]; text != "" {
		if o.duration, err = time.ParseDuration(text); err != nil {
			return m, err
		}
	}
	folder, err := os.MkdirTemp("", "rolecredential-mutation-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	o.manager = filepath.Join(folder, "manager")
	if err := mutated.Build(ctx, ".", filepath.Join(folder, "source"), o.manager); err != nil {
		return m, err
	}
	return measure(ctx, o, attacks[i])
}
