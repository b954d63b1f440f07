from common import *
data=load_data("mnist1d"); digits=load_data("digits"); ETAS=(.05,.1,.2,.4)
def vgg(norm):
    def make():
        L=[];c=1
        for w in (8,8,'p',16,16,'p',32,32):
            if w=='p': L.append(nn.MaxPool2d(2)); continue
            conv=nn.Conv2d(c,w,3,padding=1); nn.init.kaiming_normal_(conv.weight,nonlinearity='relu'); nn.init.zeros_(conv.bias); L+= [conv]+([norm(w)] if norm else [])+[nn.ReLU()]; c=w
        head=nn.Linear(32*4,10); nn.init.normal_(head.weight,std=(1/128)**.5); nn.init.zeros_(head.bias)
        return nn.Sequential(*L,nn.Flatten(),head)
    return make
def study(title,makes,data,lr,steps,B,every):
    print('===',title,'lr',lr,'steps',steps); R={}
    for nm,make in makes.items():
        rows=[];fin=[]
        for s in SEEDS:
            net=build(make,s); seen=[]
            def each(t,loss,model):
                if t%every==0:
                    w=loss_along(loss,model,ETAS); seen.append((w.loss_range,(w.loss.max()-w.loss.min()).item(),w.gradient_change.max().item(),w.smoothness.max().item(),w.gradient_norm))
            log=train(net,data,lr,steps,B,s,each); fin.append(log[-20:].mean()); rows.append(seen)
        want=(steps-1)//every+1; R[nm]=np.array([r+[(np.nan,)*5]*(want-len(r)) for r in rows]); print('  ',nm,'final loss',ms(fin)); lap(nm)
    for i,what in enumerate(('loss range','loss range without the start','gradient change','effective beta','gradient norm')):
        a,b=(np.nanmedian(R[n][:,:,i],1) for n in ('none','bn')); print(f'   ratio of medians none/bn {what}: {ms(a/b)}   medians none {np.round(a,3)} bn {np.round(b,3)}')
    for i,what in ((2,'gradient change'),(3,'beta')):
        print('   by time, mean over seeds', what,'none',np.round(np.nanmean(R['none'][:,:,i],0)[::3],2),'bn',np.round(np.nanmean(R['bn'][:,:,i],0)[::3],2))
study('13abc MLP 12x64',{'none':lambda:mlp(40,10,64,12),'bn':lambda:mlp(40,10,64,12,BatchNorm)},data,.1,150,100,10)
study('13abc VGG-style on digits',{'none':vgg(None),'bn':vgg(BatchNorm)},digits,.05,60,100,10)
print('=== 13d'); T=[];Lm=[];ineq=[]
for s in SEEDS:
    g=torch.Generator().manual_seed(s); r=lambda *a:torch.randn(*a,generator=g,dtype=torch.float64); w=[];l=[];strict=True
    for _ in range(200):
        m=int(torch.randint(3,65,(1,),generator=g)); y=(r(m)*2+1).requires_grad_(); gam=torch.rand(1,generator=g).double()+.1; bet=r(1); A=r(m,m)
        f=lambda z:torch.sin(A@z).sum()+(z**4).mean()
        sig=y.std(unbiased=False); yh=(y-y.mean())/sig; z=gam*yh+bet; gy,=torch.autograd.grad(f(z),y); z2=z.detach().requires_grad_(); gz,=torch.autograd.grad(f(z2),z2)
        sig,yh=sig.detach(),yh.detach(); lhs=gy@gy; rhs=gam**2/sig**2*(gz@gz-gz.sum()**2/m-(gz@yh)**2/m); w.append((abs(lhs-rhs)/lhs).item())
        W0,Ws=r(20),r(20); W0=W0 if W0@Ws>0 else -W0; kk=(W0@Ws)/(Ws@Ws); d2=((W0-kk*Ws)**2).sum(); right=((W0-Ws)**2).sum()-((Ws@Ws)-(Ws@W0))**2/(Ws@Ws); l.append((abs(d2-right)/d2).item()); strict&=bool(d2<((W0-Ws)**2).sum())
    T.append(max(w));Lm.append(max(l))
print('   theorem 4.1 as equality, largest relative error per seed',T); print('   lemma 4.5',Lm,'always strictly nearer',strict); lap('13d')
print('=== 13e depth 8, 200 steps')
RATES=(.01,.03,.1,.3,1.,3.); best={}
for nm,norm in (('none',None),('bn',BatchNorm)):
    for lr in RATES:
        f=fit(lambda:mlp(40,10,64,8,norm),data,learning_rate=lr,steps=150,batch_size=100,seeds=SEEDS,show_progress=False); last=f.loss[-20:].mean(0).nan_to_num(99).numpy()
        print(f'   {nm} lr {lr:g} last 20 {np.round(last,3)} test error {f.test_error.numpy().round(1)}')
        for thr in (2.2,2.0,1.5): 
            if (last<thr).all(): best[nm,thr]=lr
    lap(nm)
print('   largest rate at which every seed is below the threshold:',best)
print('=== 13f')
for depth in (4,12,20,40):
    sh={n:[] for n in ('none','bn','bn eval')}; bias={n:[] for n in sh}
    for s in SEEDS:
        for nm in sh:
            net=build(lambda:mlp(40,10,64,depth,None if nm=='none' else BatchNorm),s); net.train(nm!='bn eval')
            with torch.no_grad(): out=net(data.x[:500])
            sh[nm].append(out.argmax(1).bincount(minlength=10).max().item()/500)
            gr=out.softmax(1)-nn.functional.one_hot(data.y[:500],10); bias[nm].append((gr.mean(0).abs().mean()/gr.abs().mean()).item())
    for nm in sh: print(f'   depth {depth} {nm}: modal share {ms(sh[nm])} | |mean gradient|/mean |gradient| {ms(bias[nm])}')
lap('13f')
