package observer

import (
	"context"
	"fmt"
	"time"
)

// Interval is the time between two checks of all credentials.
const Interval = 250 * time.Millisecond

// Check checks all credentials repeatedly until the context ends. A machine that delays a check also delays the operator, so that a
// late check counts as a disruption.
func (o *Observer) Check(ctx context.Context) {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if time.Since(last) > 8*Interval {
			o.Disruptions.Mark(Machine)
		}
		last = time.Now()
		o.checkAll()
	}
}

func (o *Observer) checkAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, stsNow := time.Now(), o.STSNow()
	for _, c := range o.credentials {
		o.checkReady(c, now, stsNow)
		o.checkRefresh(c, now, stsNow)
	}
}

// checkReady checks that a credential with an unusable Secret does not stay Ready.
func (o *Observer) checkReady(c *credential, now, stsNow time.Time) {
	if !c.ready || c.usable(stsNow) || c.inconsistent {
		c.falseReadySince = time.Time{}
		return
	}
	if c.falseReadySince.IsZero() {
		c.falseReadySince = now
	}
	undisrupted, ok := o.Disruptions.UndisruptedSince(APIServer, Leader, Machine, View)
	if !ok {
		return
	}
	since := now.Sub(later(c.falseReadySince, undisrupted.Add(o.Limits.Settle)))
	if since < 0 {
		return
	}
	o.Results.Check(ReadyIsTrue, since.Seconds(), o.Limits.ReadyLag.Seconds(), func() string {
		return fmt.Sprintf("%s: for %s though %s", c.Key(), round(since), c.describeDefect(stsNow))
	})
}

// checkRefresh checks that a credential that expires could not have been refreshed.
func (o *Observer) checkRefresh(c *credential, now, stsNow time.Time) {
	if c.session == nil || c.expired {
		return
	}
	lifetime := c.session.Expiration.Sub(c.session.Issued)
	if stsNow.Before(c.session.Expiration.Add(-lifetime / 3)) {
		c.dueSince, c.longestReach = time.Time{}, 0
		return
	}
	if c.dueSince.IsZero() {
		c.dueSince = now
	}
	undisrupted, ok := o.Disruptions.UndisruptedSince(STS, APIServer, Leader, Machine, View, IdentityOf(c.Identity), BucketOf(c.Identity))
	if ok {
		c.longestReach = max(c.longestReach, now.Sub(later(c.dueSince, undisrupted)))
	}
	if stsNow.Before(c.session.Expiration) {
		return
	}
	c.expired = true
	limit := lifetime/10 + o.Limits.RefreshSlack
	o.Results.Check(RefreshedInTime, c.longestReach.Seconds(), limit.Seconds(), func() string {
		return fmt.Sprintf("%s: expired after STS could be reached for %s; %s may be", c.Key(), round(c.longestReach), round(limit))
	})
}

func (c *credential) usable(stsNow time.Time) bool {
	return c.session != nil && stsNow.Before(c.session.Expiration)
}

// describeDefect says why a Secret is unusable.
func (c *credential) describeDefect(stsNow time.Time) string {
	if c.session != nil {
		return fmt.Sprintf("%s expired %s ago", c.session.AccessKeyID, round(stsNow.Sub(c.session.Expiration)))
	}
	return c.defect
}
