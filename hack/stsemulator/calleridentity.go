package stsemulator

// getCallerIdentity returns the caller's identity. It needs no permission.
func (s *Server) getCallerIdentity(req request) (any, error) {
	return callerIdentityResult{ARN: req.caller.ARN, UserID: req.caller.UserID, Account: req.caller.Account}, nil
}

type callerIdentityResult struct {
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
	Account string `xml:"Account"`
}
